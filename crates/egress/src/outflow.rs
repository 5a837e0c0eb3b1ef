//! Whether reading a URL also sends something: text hidden in a query, a long path or a long host name leaves this machine as surely as
//! the body of a POST does.
//!
//! The rule is by size and errs on the safe side: what a person would type or a page would link passes, what could carry a paragraph does
//! not. A key fits into a short address too, so whoever has seen private data and text of strangers may only read short addresses that were
//! found somewhere, or that name a site and nothing else ([`names_only_a_site`]); who decides that is not here.
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
    query > MAX_QUERY_BYTES
        || path.len() > MAX_PATH_BYTES
        || path.split('/').any(|segment| segment.len() > MAX_SEGMENT_BYTES)
        || labels(url).len() > MAX_HOST_LABELS_BYTES
        || !url.username().is_empty()
        || url.password().is_some()
}

/// Whether the URL says nothing but which site is asked for: no path, no query, no name left of the last two parts but `www`. Not a
/// literal address: whoever has many of them could read the last digits.
pub fn names_only_a_site(url: &Url) -> bool {
    let named = matches!(url.host(), Some(Host::Domain(_))) && matches!(labels(url).as_str(), "" | "www");
    named && matches!(url.path(), "" | "/") && url.query().is_none() && url.username().is_empty() && url.password().is_none()
}

/// The parts of a host's name left of its last two.
fn labels(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => {
            let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
            labels[..labels.len().saturating_sub(2)].join(".")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{carries_data, names_only_a_site};
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
    fn a_site_is_named_and_nothing_else() {
        let only = |text: &str| names_only_a_site(&Url::parse(text).unwrap());
        for url in ["https://example.org", "http://www.example.org/#top", "https://example.org:8443/"] {
            assert!(only(url), "{url}");
        }
        for url in [
            "https://example.org/x",
            "https://example.org/?",
            "https://sk-123.example.org/",
            "https://u@example.org/",
            "https://:p@e.org/",
            "https://93.184.216.34/",
            "https://[2606:2800::736b:2d31:3233]/",
        ] {
            assert!(!only(url), "{url}");
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
