//! The signature algorithms that a key may have (RFC 7518 section 3.1, RFC 8037, RFC 9864).

use aws_lc_rs::signature as aws;

/// A signature algorithm. `none` is deliberately missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// Ed25519 under its old name (RFC 8037).
    EdDsa,
    /// Ed25519 under its fully specified name (RFC 9864).
    Ed25519,
}

/// The kind of key that an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Hmac,
    Rsa,
    Ec,
    Ed,
}

impl Algorithm {
    /// All algorithms, in ascending order of preference for a new key.
    pub const ALL: [Self; 14] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
        Self::Ed25519,
    ];

    /// The name in a token's header and in the options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// The algorithm with exactly this name: names are case-sensitive (RFC 7515 section 4.1.1).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(crate) const fn family(self) -> Family {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => Family::Hmac,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                Family::Rsa
            }
            Self::Es256 | Self::Es384 | Self::Es512 => Family::Ec,
            Self::EdDsa | Self::Ed25519 => Family::Ed,
        }
    }

    /// The minimum length of an HMAC secret in bytes: the length of the hash (RFC 7518 section
    /// 3.2). Zero for other families.
    pub(crate) const fn least_secret_bytes(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            Self::Hs512 => 64,
            _ => 0,
        }
    }

    /// The curve by its JWK name, and the length of a coordinate in bytes. `None` without a curve.
    pub(crate) const fn curve(self) -> Option<(&'static str, usize)> {
        match self {
            Self::Es256 => Some(("P-256", 32)),
            Self::Es384 => Some(("P-384", 48)),
            Self::Es512 => Some(("P-521", 66)),
            Self::EdDsa | Self::Ed25519 => Some(("Ed25519", 32)),
            _ => None,
        }
    }

    /// The same algorithm in the crate `jsonwebtoken`, which lacks ES512.
    pub(crate) const fn in_jsonwebtoken(self) -> Option<jsonwebtoken::Algorithm> {
        use jsonwebtoken::Algorithm as Jwt;
        match self {
            Self::Hs256 => Some(Jwt::HS256),
            Self::Hs384 => Some(Jwt::HS384),
            Self::Hs512 => Some(Jwt::HS512),
            Self::Rs256 => Some(Jwt::RS256),
            Self::Rs384 => Some(Jwt::RS384),
            Self::Rs512 => Some(Jwt::RS512),
            Self::Ps256 => Some(Jwt::PS256),
            Self::Ps384 => Some(Jwt::PS384),
            Self::Ps512 => Some(Jwt::PS512),
            Self::Es256 => Some(Jwt::ES256),
            Self::Es384 => Some(Jwt::ES384),
            Self::Es512 => None,
            Self::EdDsa | Self::Ed25519 => Some(Jwt::EdDSA),
        }
    }

    pub(crate) fn hmac(self) -> Option<aws_lc_rs::hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(aws_lc_rs::hmac::HMAC_SHA256),
            Self::Hs384 => Some(aws_lc_rs::hmac::HMAC_SHA384),
            Self::Hs512 => Some(aws_lc_rs::hmac::HMAC_SHA512),
            _ => None,
        }
    }

    pub(crate) fn rsa(self) -> Option<&'static aws::RsaParameters> {
        match self {
            Self::Rs256 => Some(&aws::RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Some(&aws::RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Some(&aws::RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Some(&aws::RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Some(&aws::RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Some(&aws::RSA_PSS_2048_8192_SHA512),
            _ => None,
        }
    }

    pub(crate) fn ecdsa(self) -> Option<&'static aws::EcdsaVerificationAlgorithm> {
        match self {
            Self::Es256 => Some(&aws::ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Some(&aws::ECDSA_P384_SHA384_FIXED),
            Self::Es512 => Some(&aws::ECDSA_P521_SHA512_FIXED),
            _ => None,
        }
    }

    pub(crate) fn ecdsa_signing(self) -> Option<&'static aws::EcdsaSigningAlgorithm> {
        match self {
            Self::Es256 => Some(&aws::ECDSA_P256_SHA256_FIXED_SIGNING),
            Self::Es384 => Some(&aws::ECDSA_P384_SHA384_FIXED_SIGNING),
            Self::Es512 => Some(&aws::ECDSA_P521_SHA512_FIXED_SIGNING),
            _ => None,
        }
    }
}
