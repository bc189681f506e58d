//! Metrics for Prometheus: `--metrics ADDR`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use replproto_tokio::metrics::{LATENCY_BOUNDS, describe};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{interval, timeout};

use crate::address::Address;
use crate::exit::Failure;
use crate::memory::Memory;

/// What a page of this program has and no other.
pub(crate) const BUILD: &str = "replproto_build_info";
pub(crate) const RESIDENT: &str = "process_resident_memory_bytes";
pub(crate) const PEAK: &str = "process_resident_memory_peak_bytes";

/// What this program publishes besides the metrics of its runs.
const GAUGES: [(&str, Unit, &str); 3] = [
    (
        BUILD,
        Unit::Count,
        "1, with the version of the program as its label.",
    ),
    (
        RESIDENT,
        Unit::Bytes,
        "Memory of the process, where the system tells it.",
    ),
    (PEAK, Unit::Bytes, "The most memory of the process so far."),
];

/// So many requests are answered at a time; others wait.
const REQUESTS_MAX: usize = 16;

/// A request that takes longer is dropped.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How often the samples of histograms are put into their buckets, so that they do not pile up when nobody asks.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The metrics of this process, at an address that is bound.
pub(crate) struct MetricsServer {
    listener: TcpListener,
    metrics: PrometheusHandle,
}

impl MetricsServer {
    /// Binds the address and begins to collect.
    pub(crate) async fn bind(address: &Address) -> Result<Self, Failure> {
        let listener = TcpListener::bind((address.host.as_str(), address.port))
            .await
            .map_err(|error| {
                Failure::Runtime(format!("cannot serve metrics at {address}: {error}"))
            })?;
        let latency = Matcher::Full("replproto_replication_latency_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(latency, LATENCY_BOUNDS)
            .map_err(Failure::of)?
            .build_recorder();
        let metrics = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(Failure::of)?;
        describe();
        for (name, unit, help) in GAUGES {
            describe_gauge!(name, unit, help);
        }
        gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let bound = listener.local_addr().map_err(Failure::of)?;
        tracing::info!("metrics are at http://{bound}/metrics");
        Ok(Self { listener, metrics })
    }

    /// Answers requests for ever.
    pub(crate) async fn serve(self) {
        let upkeep = async {
            let mut ticks = interval(UPKEEP_INTERVAL);
            loop {
                ticks.tick().await;
                self.metrics.run_upkeep();
            }
        };
        let requests = Arc::new(Semaphore::new(REQUESTS_MAX));
        let accept = async {
            loop {
                let Ok(permit) = requests.clone().acquire_owned().await else {
                    return;
                };
                match self.listener.accept().await {
                    Ok((stream, _)) => {
                        let metrics = self.metrics.clone();
                        tokio::spawn(async move {
                            answer(stream, metrics).await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        // Mostly too many open files, which may pass.
                        tracing::debug!(%error, "a request for metrics was not accepted");
                        tokio::time::sleep(UPKEEP_INTERVAL).await;
                    }
                }
            }
        };
        tokio::join!(upkeep, accept);
    }
}

/// One request on one connection.
async fn answer(stream: TcpStream, metrics: PrometheusHandle) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Ok(Err(error)) = timeout(REQUEST_LIMIT, connection).await {
        tracing::debug!(%error, "a request for metrics broke off");
    }
}

fn respond(method: &Method, path: &str, metrics: &PrometheusHandle) -> Response<Full<Bytes>> {
    let plain = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    if path != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "");
        let allowed = HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    if let Some(memory) = Memory::read() {
        gauge!(RESIDENT).set(memory.resident as f64);
        gauge!(PEAK).set(memory.peak as f64);
    }
    let mut response = Response::new(Full::from(metrics.render()));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_page_is_served() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let status = |method, path| respond(&method, path, &metrics).status().as_u16();
        assert_eq!(status(Method::GET, "/metrics"), 200);
        assert_eq!(status(Method::HEAD, "/metrics"), 200);
        assert_eq!(status(Method::POST, "/metrics"), 405);
        assert_eq!(status(Method::GET, "/"), 404);
        assert_eq!(status(Method::GET, "/metrics/x"), 404);
    }

    #[test]
    fn what_the_program_adds_is_documented() {
        let table = include_str!("../../../docs/metrics.md");
        let own =
            |line: &&str| line.starts_with("| `process_") || line.starts_with("| `replproto_build");
        let documented: Vec<&str> = table.lines().filter(own).collect();
        let listed: Vec<String> = GAUGES
            .iter()
            .map(|(name, unit, help)| {
                let label = if *name == BUILD { "`version`" } else { "" };
                let unit = if *unit == Unit::Bytes { "bytes" } else { "" };
                format!("| `{name}` | gauge | {unit} | {label} | {help} |")
            })
            .collect();
        assert_eq!(documented, listed);
    }
}
