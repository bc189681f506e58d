//! What must never be printed.

use crate::support::{code, run, stderr, stdout};

#[test]
fn a_password_in_an_address_is_masked() {
    let rest = ["--database", "data", "--into", "/no/such/x.db"];
    for address in [
        "ws://svc:s3cret-pw@127.0.0.1:9933/",
        "wss://svc:s3cret-pw@[::1]/",
        "ws://svc:s3cret-pw/x?y#@127.0.0.1:9933",
        "ws://svc:it's s3cret-pw@127.0.0.1",
        "svc:s3cret-pw@127.0.0.1:9933",
        "http://svc:s3cret-pw@127.0.0.1:9933",
    ] {
        let mut as_url = vec!["receive", address];
        as_url.extend(rest);
        let mut too_many = vec!["receive", "ws://127.0.0.1", address];
        too_many.extend(rest);
        let mut as_metrics = vec!["receive", "ws://127.0.0.1", "--metrics", address];
        as_metrics.extend(rest);
        for args in [as_url, too_many, as_metrics, vec!["status", address]] {
            let output = run(&args);
            assert_eq!(code(&output), Some(2), "{args:?}");
            let (out, told) = (stdout(&output), stderr(&output));
            assert!(
                !out.contains("s3cret") && !told.contains("s3cret"),
                "{told}"
            );
            assert!(told.contains("***@"), "{told}");
        }
    }
}
