//! What counts as a webhook URL. Asked when a merchant names one, and again before every attempt, because rules change.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use url::{Host, Url};

use crate::address::{self, AddressError, Scheme};

/// The most characters of a webhook URL.
pub const URL_LENGTH_MAX: usize = 500;

/// Where this installation sends webhooks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Networks that are allowed although they are not public, with plain HTTP too. Empty where it matters.
    pub allow_networks: Vec<IpNet>,
}

/// Why a text is not a webhook URL. Says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Longer than [`URL_LENGTH_MAX`].
    #[error("must have at most {URL_LENGTH_MAX} characters")]
    TooLong,
    /// Blanks, tabs, line ends or other control characters.
    #[error("must not contain blanks or control characters")]
    Blank,
    /// Not an absolute URL.
    #[error("must be an absolute URL such as \"https://shop.example/webhook\"")]
    Malformed(#[source] url::ParseError),
    /// A scheme that is not HTTP.
    #[error("must begin with https://")]
    Scheme,
    /// Plain HTTP where no network is allowed it.
    #[error("must begin with https://, plain http is not allowed")]
    PlainHttp,
    /// A user name or a password.
    #[error("must not contain a user name or a password")]
    UserInfo,
    /// No host.
    #[error("must name a host")]
    NoHost,
    /// The host is an address that webhooks are not sent to.
    #[error("must lead to a public address")]
    Address(#[source] AddressError),
}

/// Reads a webhook URL. Names are not resolved here: where they lead is checked by every attempt.
///
/// # Errors
/// When it is not an HTTP(S) URL without user name, or leads to an address that the policy refuses.
pub fn validate_url(text: &str, policy: &Policy) -> Result<Url, UrlError> {
    if text.chars().count() > URL_LENGTH_MAX {
        return Err(UrlError::TooLong);
    }
    // The parser would silently drop them, and what we store would not be what we send to.
    if text.chars().any(|char| char.is_control() || char.is_whitespace()) {
        return Err(UrlError::Blank);
    }
    let url = Url::parse(text).map_err(UrlError::Malformed)?;
    let scheme = match url.scheme() {
        "https" => Scheme::Https,
        "http" if policy.allow_networks.is_empty() => return Err(UrlError::PlainHttp),
        "http" => Scheme::Http,
        _ => return Err(UrlError::Scheme),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    match url.host() {
        None => return Err(UrlError::NoHost),
        Some(Host::Domain(name)) if name.trim_matches('.').is_empty() => return Err(UrlError::NoHost),
        Some(Host::Domain(_)) => {}
        Some(Host::Ipv4(ip)) => check(IpAddr::V4(ip), scheme, policy)?,
        Some(Host::Ipv6(ip)) => check(IpAddr::V6(ip), scheme, policy)?,
    }
    Ok(url)
}

fn check(ip: IpAddr, scheme: Scheme, policy: &Policy) -> Result<(), UrlError> {
    address::check(ip, scheme, &policy.allow_networks).map_err(UrlError::Address)
}

/// One HTTP client for each scheme: they differ in where their resolver lets them go.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    policy: Arc<Policy>,
    https: reqwest::Client,
    http: reqwest::Client,
}

impl Clients {
    pub(crate) fn new(policy: Policy) -> Result<Self, reqwest::Error> {
        let policy = Arc::new(policy);
        let https = client(&policy, Scheme::Https)?;
        let http = client(&policy, Scheme::Http)?;
        Ok(Self { policy, https, http })
    }

    /// The client for a URL, with the URL as it was read.
    pub(crate) fn for_url(&self, text: &str) -> Result<(&reqwest::Client, Url), UrlError> {
        let url = validate_url(text, &self.policy)?;
        Ok((if url.scheme() == "http" { &self.http } else { &self.https }, url))
    }
}

fn client(policy: &Arc<Policy>, scheme: Scheme) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(concat!("WoPay-Webhooks/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(address::GuardedResolver::new(Arc::clone(policy), scheme)))
        .https_only(scheme == Scheme::Https)
        // A proxy would resolve names for us, and a redirect would lead where nobody looked.
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        // Attempts are counted and logged: none may be made behind our back.
        .retry(reqwest::retry::never())
        .pool_max_idle_per_host(8)
        .pool_idle_timeout(std::time::Duration::from_secs(20))
        // Only an excerpt is read: no reason to unpack anything.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Policy {
        Policy { allow_networks: vec!["127.0.0.0/8".parse().unwrap()] }
    }

    #[test]
    fn ordinary_urls_pass() {
        for text in [
            "https://shop.example/webhook",
            "https://shop.example:8443/a/b?c=d#e",
            "https://8.8.8.8/",
            "https://[2606:4700:4700::1111]/hook",
            "https://bücher.example/",
            "HTTPS://SHOP.example",
        ] {
            assert!(validate_url(text, &Policy::default()).is_ok(), "{text}");
        }
    }

    /// Each of these is 127.0.0.1 or another private address in disguise.
    #[test]
    fn literals_are_read_as_the_client_reads_them() {
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "0x7f.0.0.0x1",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "10.0.0.1",
            "192.168.0.1",
            "172.16.0.1",
            "100.64.0.1",
            "255.255.255.255",
            "127.0.0.1:8080",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "%31%32%37.0.0.1",
        ] {
            let text = format!("https://{host}/");
            let refused = validate_url(&text, &Policy::default());
            assert!(matches!(refused, Err(UrlError::Address(AddressError::NotPublic(_)))), "{text}: {refused:?}");
        }
    }

    #[test]
    fn plain_http_goes_to_allowed_networks_only() {
        let plain = |text: &str, policy: &Policy| validate_url(text, policy).unwrap_err();
        assert_eq!(plain("http://shop.example/", &Policy::default()), UrlError::PlainHttp);
        assert_eq!(plain("http://2130706433/", &Policy::default()), UrlError::PlainHttp);
        assert!(validate_url("http://127.0.0.1:9000/hook", &local()).is_ok());
        assert!(validate_url("http://[::ffff:127.0.0.1]/", &local()).is_ok());
        // A name may lead there; the resolver says.
        assert!(validate_url("http://receiver.test/", &local()).is_ok());
        for host in ["8.8.8.8", "10.0.0.1", "[::1]"] {
            let text = format!("http://{host}/");
            assert!(matches!(plain(&text, &local()), UrlError::Address(AddressError::PlainHttp(_))), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_its_reason() {
        let error = |text: &str| validate_url(text, &local()).unwrap_err();
        assert_eq!(error("ftp://shop.example/"), UrlError::Scheme);
        assert_eq!(error("file:///etc/passwd"), UrlError::Scheme);
        assert_eq!(error("javascript:alert(1)"), UrlError::Scheme);
        assert_eq!(error("https://user@shop.example/"), UrlError::UserInfo);
        assert_eq!(error("https://:secret@shop.example/"), UrlError::UserInfo);
        assert_eq!(error(" https://shop.example/"), UrlError::Blank);
        assert_eq!(error("https://shop.exa\tmple/"), UrlError::Blank);
        assert_eq!(error("https://shop.example/\r\nx: y"), UrlError::Blank);
        assert_eq!(error(&format!("https://shop.example/{}", "a".repeat(500))), UrlError::TooLong);
        for text in ["", "shop.example/webhook", "https://", "https://[::1", "https://1.2.3.4.5/", "https://a:99999/"] {
            assert!(matches!(error(text), UrlError::Malformed(_)), "{text}");
        }
        assert_eq!(error("https://./"), UrlError::NoHost);
    }
}
