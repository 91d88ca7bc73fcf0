//! A Copera Drive on loopback: the drive's API in front of a real S3 server, with scripted faults.
//!
//! A [`LocalDrive`] is synchronous, runs on its own threads, and stops when it is dropped. Its presigned URLs are real
//! (AWS Signature Version 4) and expire. s3s implements the S3 protocol and checks signatures; the drive adds the
//! checks of Amazon S3 that s3s lacks. [`Record`] has every request, and [`LocalDrive::wait_until`] waits for one, so
//! that no test has to sleep.
//!
//! ```no_run
//! use local_drive::{Action, Fault, LocalDrive, Op, Options};
//!
//! # fn main() -> anyhow::Result<()> {
//! let drive = LocalDrive::start(Options::default())?;
//! drive.fault(Fault::once(Op::PutPart, Action::slow_down()).part(2));
//! // … run the program with COPERA_API_URL=drive.api_url() and COPERA_TOKEN=drive.token() …
//! assert_eq!(drive.record().count(Op::Finalize), 1);
//! # Ok(())
//! # }
//! ```

mod api;
mod body;
mod clock;
mod drive;
mod external;
mod fault;
mod items;
mod local;
mod meter;
mod net;
mod objects;
mod options;
mod part;
mod presign;
mod query;
mod record;
mod response;
mod s3;
mod spec;
mod start;
mod storage;
mod store;
mod tls;
mod xml;

pub use fault::{Action, Fault, FaultId, Op};
pub use local::{LocalDrive, OpenUpload};
pub use options::{ExternalS3, FinalizeRepeat, Mode, Options, S3, UrlShape};
pub use record::{Record, RequestRecord, StoredPart};
pub use spec::parse_size;
