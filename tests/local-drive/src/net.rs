//! Listens, accepts connections, and breaks them as networks do.
//!
//! hyper always closes connections cleanly. A reset needs a zero linger time before the socket is dropped, and a
//! stalled request must notice a disconnect without reading. So the socket has a wrapper here.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BufMut as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::body::AnyBody;
use crate::drive::Shared;
use crate::options::Options;

/// The request and its connection end without a response.
#[derive(Debug)]
pub(crate) struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is closed on purpose")
    }
}

impl std::error::Error for Lost {}

/// The connection of a request, for the request handler.
pub(crate) struct Conn {
    read: Arc<OwnedReadHalf>,
    reset: AtomicBool,
    max_read: AtomicUsize,
}

impl Conn {
    /// Ends the connection with a TCP reset.
    pub(crate) fn reset(&self) -> Lost {
        self.reset.store(true, Ordering::SeqCst);
        Lost
    }

    /// Takes at most this many bytes from the network at a time. hyper would take up to 400 KB, so a connection that is
    /// slowed down would stand still for seconds between two reads.
    pub(crate) fn set_max_read(&self, bytes: usize) {
        self.max_read.store(bytes, Ordering::Relaxed);
    }

    /// Waits until the client has closed its side. hyper notices that only while it reads, and a stalled request
    /// does not read. A socket with unread bytes is always ready, so this polls.
    pub(crate) async fn closed(&self) {
        loop {
            match self.read.ready(Interest::READABLE).await {
                Ok(ready) if !ready.is_read_closed() => tokio::time::sleep(Duration::from_millis(5)).await,
                _ => return,
            }
        }
    }
}

/// The socket that hyper uses.
struct Socket {
    conn: Arc<Conn>,
    write: Option<OwnedWriteHalf>,
    shared: Arc<Shared>,
    server: Server,
}

impl Socket {
    fn new(stream: TcpStream, shared: Arc<Shared>, server: Server) -> Self {
        let (read, write) = stream.into_split();
        if server == Server::Storage {
            shared.recorder.connection_opened();
        }
        let conn = Arc::new(Conn {
            read: Arc::new(read),
            reset: AtomicBool::new(false),
            max_read: AtomicUsize::new(usize::MAX),
        });
        Self { conn, write: Some(write), shared, server }
    }

    /// The write half. Only `drop` takes it.
    fn write(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        self.write.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.conn.reset.load(Ordering::SeqCst) || self.shared.down.load(Ordering::SeqCst) {
            // This fails only if the socket is closed already.
            let _ = self.conn.read.as_ref().as_ref().set_zero_linger();
            if let Some(write) = self.write.take() {
                // Dropping it would send a FIN first, which is a clean close for the client.
                write.forget();
            }
        }
        if self.server == Server::Storage {
            self.shared.recorder.connection_closed();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream: &TcpStream = self.conn.read.as_ref().as_ref();
        let max_read = self.conn.max_read.load(Ordering::Relaxed);
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(&mut (&mut *buffer).limit(max_read)) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// One of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Api,
    Storage,
}

enum Command {
    Stop(std::sync::mpsc::Sender<io::Result<()>>),
    Listen(std::sync::mpsc::Sender<io::Result<()>>),
}

/// Controls a server from outside the runtime.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    commands: mpsc::UnboundedSender<Command>,
}

impl Port {
    /// Serves on the current runtime.
    pub(crate) fn serve(server: Server, listener: TcpListener, shared: &Arc<Shared>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (commands, received) = mpsc::unbounded_channel();
        tokio::spawn(accept(server, listener, address, received, Arc::clone(shared)));
        Ok(Self { address, commands })
    }

    /// Stops listening and closes all connections before it returns.
    pub(crate) fn stop(&self) -> io::Result<()> {
        self.command(Command::Stop)
    }

    /// Listens again on the same port.
    pub(crate) fn listen(&self) -> io::Result<()> {
        self.command(Command::Listen)
    }

    fn command(&self, command: fn(std::sync::mpsc::Sender<io::Result<()>>) -> Command) -> io::Result<()> {
        let (done, wait) = std::sync::mpsc::channel();
        let ended = || io::Error::other("the drive has ended");
        self.commands.send(command(done)).map_err(|_| ended())?;
        wait.recv().map_err(|_| ended())?
    }
}

/// Opens a server's listening socket. Needs a runtime.
pub(crate) fn bind(server: Server, address: SocketAddr, options: &Options) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // Without this, the port stays taken while old connections are in TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    if let (Server::Storage, Some(size)) = (server, options.receive_buffer) {
        socket.set_recv_buffer_size(size)?;
    }
    socket.bind(address)?;
    socket.listen(1024)
}

async fn accept(
    server: Server,
    listener: TcpListener,
    address: SocketAddr,
    mut commands: mpsc::UnboundedReceiver<Command>,
    shared: Arc<Shared>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = next(listener.as_ref()) => {
                if let Ok((stream, _)) = accepted {
                    // Nagle's algorithm would delay small responses.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(server, stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
            command = commands.recv() => match command {
                Some(Command::Stop(done)) => {
                    listener = None;
                    connections.shutdown().await;
                    let _ = done.send(Ok(()));
                }
                Some(Command::Listen(done)) => {
                    let result = if listener.is_none() {
                        bind(server, address, &shared.options).map(|bound| listener = Some(bound))
                    } else {
                        Ok(())
                    };
                    let _ = done.send(result);
                }
                None => return,
            }
        }
    }
}

async fn next(listener: Option<&TcpListener>) -> io::Result<(TcpStream, SocketAddr)> {
    match listener {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

async fn serve(server: Server, stream: TcpStream, shared: Arc<Shared>) {
    let socket = Socket::new(stream, Arc::clone(&shared), server);
    let conn = Arc::clone(&socket.conn);
    let for_requests = Arc::clone(&shared);
    let service = service_fn(move |request: Request<Incoming>| {
        let shared = &for_requests;
        let future: Pin<Box<dyn Future<Output = Result<Response<AnyBody>, Lost>> + Send>> = match server {
            Server::Api => Box::pin(crate::api::handle(Arc::clone(shared), Arc::clone(&conn), request)),
            Server::Storage => {
                Box::pin(crate::storage::handle(Arc::clone(shared), Arc::clone(&conn), request))
            }
        };
        future
    });
    // S3 closes idle connections after about 5 s, load balancers in front of APIs usually after a minute.
    let idle = match server {
        Server::Api => Duration::from_secs(60),
        Server::Storage => socket.shared.options.idle_timeout,
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(idle);
    // An error means that the connection ended. The record has that.
    match &shared.tls {
        None => drop(http.serve_connection(TokioIo::new(socket), service).await),
        Some(tls) => {
            let Ok(Ok(stream)) = tokio::time::timeout(idle, tls.acceptor.accept(socket)).await else {
                return;
            };
            drop(http.serve_connection(TokioIo::new(stream), service).await);
        }
    }
}
