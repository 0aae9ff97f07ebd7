//! Two headers control framing: `X-Frame-Options` (RFC 7034) and CSP's `frame-ancestors`. Browsers
//! that support the second ignore the first. Here the two always agree.

/// The values of `X-Frame-Options`.
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

    /// The equivalent source of `frame-ancestors`.
    pub(super) const fn source(self) -> &'static str {
        match self {
            Self::Deny => "'none'",
            Self::SameOrigin => "'self'",
        }
    }

    /// The equivalent of `frame-ancestors`, if there is one.
    pub(super) fn of(ancestors: &[String]) -> Option<Self> {
        match ancestors {
            [one] if one == "'none'" => Some(Self::Deny),
            [one] if one == "'self'" => Some(Self::SameOrigin),
            _ => None,
        }
    }
}
