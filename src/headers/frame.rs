//! Framing is said twice, by `X-Frame-Options` (RFC 7034) and by CSP's `frame-ancestors`; browsers
//! that know the second ignore the first. Here both always say the same.

/// What `X-Frame-Options` can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame {
    Deny,
    SameOrigin,
}

/// The option `frameOptions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FrameOption {
    Absent,
    Off,
    Only(Frame),
}

impl Frame {
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Deny => "DENY",
            Self::SameOrigin => "SAMEORIGIN",
        }
    }

    /// The same as a source of `frame-ancestors`.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Deny => "'none'",
            Self::SameOrigin => "'self'",
        }
    }

    /// What `frame-ancestors` says, where `X-Frame-Options` has a word for it.
    pub(super) fn of(ancestors: &[String]) -> Option<Self> {
        match ancestors {
            [one] if one == "'none'" => Some(Self::Deny),
            [one] if one == "'self'" => Some(Self::SameOrigin),
            _ => None,
        }
    }
}
