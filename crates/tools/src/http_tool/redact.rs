//! Secrets out of text: a service may send back what it was sent.
//!
//! Invariant: neither the secret nor its usual encodings (URL, Base64, hexadecimal, reversed) are in what [`Redactor::clean`] gives.
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

/// Shorter ones are in ordinary words, and are not secrets.
const MIN_SECRET_BYTES: usize = 4;

/// Knows what must not be shown.
#[derive(Clone, Default)]
pub(super) struct Redactor {
    forms: Vec<SecretString>,
}

impl Redactor {
    pub(super) fn new<'s>(secrets: impl IntoIterator<Item = &'s SecretString>) -> Self {
        let mut forms: Vec<String> = vec![];
        for secret in secrets {
            let secret = secret.expose_secret();
            if secret.len() < MIN_SECRET_BYTES {
                continue;
            }
            let json = serde_json::to_string(secret).expect("a string is JSON");
            forms.extend([
                secret.to_owned(),
                json[1..json.len() - 1].to_owned(),
                utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
                STANDARD_NO_PAD.encode(secret),
                URL_SAFE_NO_PAD.encode(secret),
                STANDARD_NO_PAD.encode(format!("Bearer {secret}")),
                secret.bytes().map(|b| format!("{b:02x}")).collect(),
                secret.chars().rev().collect(),
            ]);
        }
        // Longer ones first: a short form may be part of a longer one.
        forms.sort_by_key(|f| std::cmp::Reverse(f.len()));
        forms.dedup();
        Self { forms: forms.into_iter().map(SecretString::from).collect() }
    }

    /// The text without secrets.
    pub(super) fn clean(&self, text: String) -> String {
        self.forms.iter().fold(text, |text, form| {
            let form = form.expose_secret();
            if text.contains(form) { text.replace(form, "[secret]") } else { text }
        })
    }
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor")
    }
}

#[cfg(test)]
mod tests {
    use super::Redactor;

    #[test]
    fn every_form_goes() {
        let redactor = Redactor::new(&["s3cr/t\"Key+1".to_owned().into(), "abc".to_owned().into()]);
        for form in
            ["s3cr/t\"Key+1", "s3cr/t\\\"Key+1", "s3cr%2Ft%22Key%2B1", "czNjci90IktleSsx", "733363722f74224b65792b31", "1+yeK\"t/rc3s"]
        {
            assert_eq!(redactor.clean(format!("a {form} b")), "a [secret] b", "{form}");
        }
        assert_eq!(redactor.clean("abc".to_owned()), "abc", "too short to be a secret");
    }
}
