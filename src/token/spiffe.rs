//! SPIFFE IDs (SPIFFE-ID specification, section 2), as far as a JWT-SVID needs them.
//!
//! A JWT-SVID need not have an `iss`: its `sub` names the trust domain, which selects the keys. So
//! only the trust domain itself can issue its subjects; a token that another issuer signs for them
//! is refused.

use crate::error::ConfigError;

const SCHEME: &str = "spiffe://";
const MAX_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

/// A trust domain, with its scheme: `spiffe://example.org`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TrustDomain(String);

impl TrustDomain {
    /// Parses the option `issuer` of the preset `spiffe`.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, ConfigError> {
        let domain = text.strip_prefix(SCHEME).filter(|domain| is_trust_domain(domain));
        domain.map(|_| Self(text.to_owned())).ok_or_else(|| {
            ConfigError::invalid(path, "must be a trust domain in lower case, without a path")
                .suggest("write 'spiffe://example.org'")
        })
    }

    /// Whether `subject` is the SPIFFE ID of a workload of this trust domain. The ID of the trust
    /// domain itself is not.
    pub(super) fn holds(&self, subject: &str) -> bool {
        subject.len() <= MAX_ID
            && subject
                .strip_prefix(&*self.0)
                .and_then(|rest| rest.strip_prefix('/'))
                .is_some_and(|path| path.split('/').all(is_segment))
    }

    /// Whether `subject` claims to be of this trust domain, well-formed or not.
    pub(super) fn claims(&self, subject: &str) -> bool {
        // Another issuer must not write the domain in other letters.
        subject.split_at_checked(self.0.len()).is_some_and(|(domain, rest)| {
            domain.eq_ignore_ascii_case(&self.0) && (rest.is_empty() || rest.starts_with('/'))
        })
    }
}

/// Section 2.1.
fn is_trust_domain(text: &str) -> bool {
    (1..=MAX_TRUST_DOMAIN).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
}

/// Section 2.2: not empty, no `.` or `..`, no characters that need decoding.
fn is_segment(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trust_domain_is_lower_case_and_has_no_path() {
        for good in ["spiffe://example.org", "spiffe://a", "spiffe://prod_1.acme-corp.example"] {
            assert!(TrustDomain::parse("issuer", good).is_ok(), "{good}");
        }
        let long = format!("spiffe://{}", "a".repeat(256));
        for bad in [
            "example.org",
            "spiffe://",
            "spiffe://Example.org",
            "SPIFFE://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a",
            "spiffe://example.org:80",
            "spiffe://user@example.org",
            "spiffe://ex%61mple.org",
            "https://example.org",
            &long,
        ] {
            assert!(TrustDomain::parse("issuer", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_id_of_a_workload_is_one_path_in_one_spelling() {
        let domain = TrustDomain::parse("issuer", "spiffe://example.org").unwrap();
        for good in ["/billing", "/ns/prod/sa/pay.ments-1_A", "/..."] {
            assert!(domain.holds(&format!("spiffe://example.org{good}")), "{good}");
        }
        let long = format!("/{}", "a".repeat(2048));
        for bad in [
            "",
            "/",
            "/a/",
            "//a",
            "/a//b",
            "/a/../b",
            "/./a",
            "/a%2fb",
            "/a?b",
            "/a#b",
            "/\u{e4}",
            "/a b",
            ".evil.example/a",
            ":80/a",
            "@evil/a",
            &long,
        ] {
            assert!(!domain.holds(&format!("spiffe://example.org{bad}")), "{bad}");
        }
        assert!(!domain.holds("spiffe://example.orgx/a"));
        assert!(!domain.holds("SPIFFE://example.org/a"));
        assert!(domain.claims("spiffe://example.org/a/../b"));
        assert!(!domain.claims("spiffe://example.org.evil.example/a"));
    }
}
