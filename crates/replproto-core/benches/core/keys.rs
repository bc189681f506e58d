//! Record ids.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use replproto_core::key::{self, Key};
use replproto_core::value::JsonStyle;

pub(crate) fn benches(criterion: &mut Criterion) {
    let keys = [
        ("text", Key::Text("dev-0000000042".into())),
        ("number", Key::Number(123_456.0)),
        (
            "composed",
            Key::Array(vec![Key::Text("eu-west".into()), Key::Number(42.0)]),
        ),
    ];
    let mut group = criterion.benchmark_group("keys");
    group.throughput(Throughput::Elements(1));
    for (kind, key) in keys {
        let bytes = key.encode().unwrap();
        group.bench_function(format!("{kind}, decoded"), |bencher| {
            bencher.iter(|| Key::decode(black_box(&bytes)).unwrap());
        });
        let mut json = String::new();
        group.bench_function(format!("{kind}, as JSON"), |bencher| {
            bencher.iter(|| {
                json.clear();
                key::write_json(black_box(&bytes), &mut json, JsonStyle::Natural).unwrap();
            });
        });
    }
    group.finish();
}
