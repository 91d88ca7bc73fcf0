//! A Copera Drive on loopback: the drive's API in front of a real S3 server, with faults by script.
//!
//! For synchronous tests: a [`LocalDrive`] runs on threads of its own and stops when it is dropped. The signed URLs
//! are real ones (AWS Signature Version 4) that expire; S3's protocol and signature checks are s3s's, with a front
//! that is as strict as Amazon where s3s is not. Every request is on [`Record`], and [`LocalDrive::wait_until`] waits
//! for one by event, so that no test has to sleep.
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

mod answer;
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
mod options;
mod query;
mod record;
mod s3;
mod sigv4;
mod spec;
mod storage;
mod store;
mod tls;
mod xml;

pub use fault::{Action, Fault, FaultId, Op};
pub use local::{LocalDrive, OpenUpload};
pub use options::{ExternalS3, FinalizeRepeat, Mode, Options, S3, UrlShape};
pub use record::{Record, RequestRecord, StoredPart};
pub use spec::parse_size;
