//! Fetching a page of metrics.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::page::Page;
use crate::address::Address;
use crate::exit::Failure;
use crate::metrics::BUILD;

/// How long a page may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The largest page: thousands of links are below it.
const PAGE_MAX: usize = 64 << 20;

/// Fetches the page of a receiver.
pub(super) async fn fetch(address: &Address) -> Result<Page, Failure> {
    match timeout(LIMIT, get(address)).await {
        Ok(result) => result,
        Err(_) => Err(Failure::Runtime(format!(
            "{address} does not answer within {LIMIT:?}"
        ))),
    }
}

async fn get(address: &Address) -> Result<Page, Failure> {
    let stream = TcpStream::connect((address.host.as_str(), address.port))
        .await
        .map_err(|error| {
            Failure::Runtime(format!(
                "no receiver listens at {address}: {error}; start one with `replproto receive … --metrics {address}`"
            ))
        })?;
    let body = exchange(stream, address)
        .await
        .map_err(|why| not_ours(address, &why))?;
    let text = std::str::from_utf8(&body).map_err(|error| not_ours(address, &error.to_string()))?;
    let page = Page::parse(text).map_err(|error| not_ours(address, &error.to_string()))?;
    if page.has(BUILD) {
        Ok(page)
    } else {
        Err(not_ours(address, &format!("{BUILD} is not in it")))
    }
}

fn not_ours(address: &Address, why: &str) -> Failure {
    Failure::Runtime(format!(
        "what answers at {address} is not the metrics of a receiver: {why}"
    ))
}

/// Gives the body of the answer, or what is wrong with it.
async fn exchange(stream: TcpStream, address: &Address) -> Result<Bytes, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let request = Request::get("/metrics")
        .header(HOST, address.to_string())
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        if response.status() != StatusCode::OK {
            return Err(format!("HTTP status {}", response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), PAGE_MAX).collect().await;
        Ok(body.map_err(|error| error.to_string())?.to_bytes())
    };
    // The connection is driven beside it, and need not end well once the answer is here.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        answer = answer => answer,
        () = driven => Err("the connection ended".to_owned()),
    }
}
