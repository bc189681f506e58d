//! Passwords in addresses that somebody gave all the same: they are never printed.

/// The mask for a user and a password.
const MASK: &str = "***";

/// The text with the user and the password of each address masked: on each line all between `://` and the last `@` after it.
/// A password may have any characters, so too much is rather masked than too little.
pub(crate) fn addresses(text: &str) -> String {
    lines(text, |line| {
        let start = line.find("://")? + "://".len();
        Some((start, start + line[start..].rfind('@')?))
    })
}

/// The same for a complaint about the arguments, which may quote an address without its `ws://`.
pub(crate) fn arguments(text: &str) -> String {
    lines(&addresses(text), |line| {
        let end = line.rfind('@')?;
        let before = &line[..end];
        let start = before.find("://").map(|at| at + "://".len());
        let start = start.or_else(|| before.find('\'').map(|at| at + 1));
        Some((start.unwrap_or(0), end))
    })
}

/// Masks the part of each line that is found.
fn lines(text: &str, find: impl Fn(&str) -> Option<(usize, usize)>) -> String {
    text.split_inclusive('\n')
        .map(|line| match find(line) {
            Some((start, end)) => format!("{}{MASK}{}", &line[..start], &line[end..]),
            None => line.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_before_the_host_is_masked() {
        for (text, masked) in [
            ("ws://svc:pw@127.0.0.1:1/", "ws://***@127.0.0.1:1/"),
            ("'ws://svc:p/w ?'#@a@h/x'", "'ws://***@h/x'"),
            ("wss://pw@h", "wss://***@h"),
            (
                "a ws://h:1/ b\nc http://u:p@h d",
                "a ws://h:1/ b\nc http://***@h d",
            ),
            (
                "/data/me@here/x.sqlite: no such file",
                "/data/me@here/x.sqlite: no such file",
            ),
        ] {
            assert_eq!(addresses(text), masked);
            assert_eq!(addresses(masked), masked);
        }
    }

    #[test]
    fn an_argument_needs_no_scheme() {
        for (text, masked) in [
            (
                "invalid value 'svc:pw@h:1' for",
                "invalid value '***@h:1' for",
            ),
            (
                "invalid value 'ws://svc:pw@h:1' for",
                "invalid value 'ws://***@h:1' for",
            ),
            ("svc:pw@h", "***@h"),
            ("nothing", "nothing"),
        ] {
            assert_eq!(arguments(text), masked);
        }
    }
}
