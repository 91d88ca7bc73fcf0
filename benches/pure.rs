//! Benchmarks of code without I/O: `cargo bench`. Compare results only on the same machine.

use std::hint::black_box;

use bytes::Bytes;
use copera_upload::checksum::Checksums;
use copera_upload::drive::parse_urls;
use copera_upload::plan::Parts;
use copera_upload::secret::{Redactor, Token};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use md5::{Digest as _, Md5};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 16;

/// MD5 of several parts in flight, one chunk of each in turn. For comparison, one part with the md-5 crate.
fn checksums(c: &mut Criterion) {
    let mut group = c.benchmark_group("md5");
    let chunk = Bytes::from((0..CHUNK).map(|i| (i * 31) as u8).collect::<Vec<_>>());
    for parts in [1, 2, 4, 8, 16, 32] {
        group.throughput(Throughput::Bytes((CHUNK * CHUNKS * parts) as u64));
        group.bench_with_input(BenchmarkId::new("parts in flight", parts), &parts, |b, parts| {
            b.iter(|| {
                let sums = Checksums::default();
                let streams: Vec<_> = (0..*parts).map(|_| sums.stream()).collect();
                for _ in 0..CHUNKS {
                    streams.iter().for_each(|stream| stream.push(chunk.clone()));
                }
                streams.into_iter().for_each(|stream| drop(black_box(stream.finish())));
            });
        });
    }
    group.throughput(Throughput::Bytes((CHUNK * CHUNKS) as u64));
    group.bench_function("the md-5 crate", |b| {
        b.iter(|| {
            let mut md5 = Md5::new();
            (0..CHUNKS).for_each(|_| md5.update(&chunk));
            black_box(md5.finalize())
        });
    });
}

/// Parses the signed URLs of the largest upload.
fn urls(c: &mut Criterion) {
    let parts: Vec<String> = (1..=10_000)
        .map(|part| {
            let query = format!("X-Amz-Signature={part:064}&partNumber={part}&uploadId={}", "u".repeat(128));
            format!(
                r#"{{"signedUrl":"https://bucket.s3-accelerate.amazonaws.com/key?{query}","PartNumber":{part}}}"#
            )
        })
        .collect();
    let body = format!(r#"{{"parts":[{}]}}"#, parts.join(","));
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("10,000 signed URLs", |b| {
        b.iter(|| parse_urls(black_box(body.as_bytes()), 10_000).map(|urls| urls.len()));
    });
    group.finish();

    let mask = Redactor::new(&Token::new("cp_pat_0123456789abcdef"));
    let message = "Forbidden: cp_pat_0123456789abcdef at https://h/k?X-Amz-Signature=ab&x=1 ".repeat(20);
    c.bench_function("redact a message of the server", |b| b.iter(|| mask.redact(black_box(&message))));
}

/// Plans the parts of a file.
fn plan(c: &mut Criterion) {
    c.bench_function("plan 1 TiB and its last range", |b| {
        b.iter(|| Parts::plan(black_box(1 << 40), None).map(|parts| parts.range(parts.count)));
    });
}

criterion_group!(benches, checksums, urls, plan);
criterion_main!(benches);
