//! Whether reading a URL also sends something: text hidden in a query, a long path or a long host name leaves this machine as surely as
//! the body of a POST does.
//!
//! The rule is by size and errs on the safe side: what a person would type or a page would link passes, what could carry a paragraph does
//! not. A few bytes per request can always leave; that is why every fetch is journaled and fetches are counted.
use url::{Host, Url};

/// Longest query that counts as an address, bytes.
pub const MAX_QUERY_BYTES: usize = 64;
/// Longest path that counts as an address, bytes.
pub const MAX_PATH_BYTES: usize = 256;
/// Longest segment of a path that counts as an address, bytes (titles in news addresses are long).
pub const MAX_SEGMENT_BYTES: usize = 128;
/// Longest part of a host name left of its last two labels that counts as an address, bytes.
pub const MAX_HOST_LABELS_BYTES: usize = 32;

/// Whether the URL could carry data out. Percent-encoding counts as written, so encoding does not hide length.
pub fn carries_data(url: &Url) -> bool {
    let query = url.query().map_or(0, str::len);
    let path = url.path();
    let labels = match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            labels[..labels.len().saturating_sub(2)].join(".").len()
        }
        _ => 0,
    };
    query > MAX_QUERY_BYTES
        || path.len() > MAX_PATH_BYTES
        || path.split('/').any(|segment| segment.len() > MAX_SEGMENT_BYTES)
        || labels > MAX_HOST_LABELS_BYTES
        || !url.username().is_empty()
        || url.password().is_some()
}

#[cfg(test)]
mod tests {
    use super::carries_data;
    use url::Url;

    fn carries(text: &str) -> bool {
        carries_data(&Url::parse(text).unwrap())
    }

    #[test]
    fn plain_addresses_are_reading() {
        for url in [
            "https://example.org/",
            "https://en.wikipedia.org/wiki/Post-quantum_cryptography?action=raw",
            "https://www.example.org/2026/11/28/a-rather-long-title-of-an-article-that-somebody-has-written-about-clouds",
            "https://docs.eu-west-1.cloud.example.org/x",
            "https://example.org/#a-fragment-never-leaves-so-it-may-be-as-long-as-it-likes-to-be-and-still-be-harmless",
        ] {
            assert!(!carries(url), "{url}");
        }
    }

    #[test]
    fn what_could_carry_a_paragraph_is_sending() {
        let x = |n: usize| "x".repeat(n);
        assert!(carries(&format!("https://e.org/?q={}", x(63))) && !carries(&format!("https://e.org/?q={}", x(62))));
        assert!(carries(&format!("https://e.org/{}", x(129))) && !carries(&format!("https://e.org/{}", x(128))));
        assert!(carries(&format!("https://e.org/{}/{}/{}", x(100), x(100), x(60))));
        assert!(carries(&format!("https://{}.e.org/", x(33))) && !carries(&format!("https://{}.e.org/", x(32))));
        assert!(carries(&format!("https://{}.{}.{}.e.org/", x(12), x(12), x(12))));
        assert!(carries("https://secret@e.org/"));
    }
}
