//! A whole link: messages in, events out, all of them acknowledged.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use replproto_core::value::{JsonStyle, RawValue};
use replproto_core::{Input, Record};

use crate::data::{self, Frames, NOW};

/// How often the 360 records of the file stand in the one batch.
const TIMES: usize = 14;

pub(crate) fn benches(criterion: &mut Criterion) {
    batches(criterion);
    acknowledgements(criterion);
}

/// One transaction of some five thousand records, read as far as the name says.
fn batches(criterion: &mut Criterion) {
    let frames = Frames::read();
    let batch = frames.batch(TIMES, 2.0);
    let records: usize = frames.records().iter().map(|records| records.len()).sum();
    let mut group = criterion.benchmark_group("link");
    group.throughput(Throughput::Elements((records * TIMES) as u64));
    let mut bench = |name: &str, read: &mut dyn FnMut(RawValue<'_>)| {
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || frames.link(),
                |link| {
                    data::feed(link, batch.clone(), |records| {
                        for record in records {
                            read_value(record, read);
                        }
                    });
                },
                BatchSize::PerIteration,
            );
        });
    };
    bench("headers", &mut |value| {
        black_box(value);
    });
    bench("one field", &mut |value| {
        black_box(value.field("status").unwrap());
    });
    bench("every field", &mut |value| {
        black_box(value.read_all().unwrap());
    });
    let mut json = String::new();
    bench("JSON", &mut |value| {
        json.clear();
        value.write_json(&mut json, JsonStyle::Natural).unwrap();
    });
    group.finish();
}

fn read_value(record: Record<'_>, read: &mut dyn FnMut(RawValue<'_>)) {
    if let Some(value) = record.value() {
        read(value);
    }
}

/// What flow control costs: rounds of the gauges and the ledger.
fn acknowledgements(criterion: &mut Criterion) {
    let frames = Frames::read();
    let mut group = criterion.benchmark_group("gauges");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a transaction of one record", |bencher| {
        let mut link = frames.link();
        let mut sequence = 2.0;
        bencher.iter_batched(
            || {
                sequence += 1.0;
                frames.batch_of_one(sequence)
            },
            |batch| data::feed(&mut link, batch, |_| {}),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("nothing to acknowledge", |bencher| {
        let mut link = frames.link();
        bencher.iter(|| {
            link.handle(NOW, Input::Consumed { events: 0 }).unwrap();
            black_box(link.poll_command().is_none())
        });
    });
    group.finish();
}
