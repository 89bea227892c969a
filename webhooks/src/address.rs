//! Which addresses a webhook may be sent to. Merchants choose the URLs, so without this they would choose what our own
//! network sends requests to: metadata services, databases, the loopback interface.
//!
//! The rule is applied where addresses come from: inside the resolver for names, so that the address which was checked
//! is the address which is dialled, and on the URL itself for literals, which never reach a resolver.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::receiver::Policy;

/// An address that webhooks are not sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not reachable from the internet at large, or standing for such an address.
    #[error("{0} is not a public address")]
    NotPublic(IpAddr),
    /// Plain HTTP, and not in a network that the installation allows it for.
    #[error("plain http is not allowed to {0}")]
    PlainHttp(IpAddr),
}

/// How a request is protected; decides where it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// To public addresses and allowed networks.
    Https,
    /// To allowed networks only.
    Http,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6(first: u16, second: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), bits)
}

/// IPv4 that is not public, from IANA's registry of special-purpose addresses.
const RESERVED_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 0, 8),       // this network
    v4(10, 0, 0, 0, 8),      // private
    v4(100, 64, 0, 0, 10),   // carrier-grade NAT
    v4(127, 0, 0, 0, 8),     // loopback
    v4(169, 254, 0, 0, 16),  // link-local, cloud metadata
    v4(172, 16, 0, 0, 12),   // private
    v4(192, 0, 0, 0, 24),    // protocol assignments
    v4(192, 0, 2, 0, 24),    // documentation
    v4(192, 88, 99, 0, 24),  // 6to4 relays
    v4(192, 168, 0, 0, 16),  // private
    v4(198, 18, 0, 0, 15),   // benchmarks
    v4(198, 51, 100, 0, 24), // documentation
    v4(203, 0, 113, 0, 24),  // documentation
    v4(224, 0, 0, 0, 4),     // multicast
    v4(240, 0, 0, 0, 4),     // reserved, broadcast
];

/// The only IPv6 that is handed out to the public; leaves out loopback, `::/96`, NAT64 (`64:ff9b::/96` and
/// `64:ff9b:1::/48`), discard, unique local, link-local, site-local and multicast.
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 3);

/// What is not public of [`GLOBAL_V6`].
const RESERVED_V6: [Ipv6Net; 4] = [
    v6(0x2001, 0, 23),      // protocol assignments, Teredo among them
    v6(0x2001, 0x0db8, 32), // documentation
    v6(0x2002, 0, 16),      // 6to4: stands for an IPv4 address
    v6(0x3fff, 0, 20),      // documentation
];

fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !RESERVED_V4.iter().any(|net| net.contains(&ip)),
        IpAddr::V6(ip) => GLOBAL_V6.contains(&ip) && !RESERVED_V6.iter().any(|net| net.contains(&ip)),
    }
}

/// Whether a request may go to this address. An IPv4 address inside an IPv6 one is judged as the IPv4 address.
pub(crate) fn check(ip: IpAddr, scheme: Scheme, allowed: &[IpNet]) -> Result<(), AddressError> {
    let ip = ip.to_canonical();
    if allowed.iter().any(|net| net.contains(&ip)) {
        return Ok(());
    }
    match scheme {
        Scheme::Https if is_public(ip) => Ok(()),
        Scheme::Https => Err(AddressError::NotPublic(ip)),
        Scheme::Http => Err(AddressError::PlainHttp(ip)),
    }
}

/// Resolves names with the operating system, and refuses a name when any of its addresses is refused: a name that
/// answers with a public and a private address is an attack or a mistake.
pub(crate) struct GuardedResolver {
    policy: Arc<Policy>,
    scheme: Scheme,
}

impl GuardedResolver {
    pub(crate) fn new(policy: Arc<Policy>, scheme: Scheme) -> Self {
        Self { policy, scheme }
    }
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, scheme) = (Arc::clone(&self.policy), self.scheme);
        Box::pin(async move {
            // Port 0 stands for the port of the URL.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            for address in &found {
                check(address.ip(), scheme, &policy.allow_networks)?;
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn https(ip: &str) -> Result<(), AddressError> {
        check(ip.parse().unwrap(), Scheme::Https, &[])
    }

    #[test]
    fn public_addresses_pass() {
        for ip in ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.1", "100.63.0.1", "100.128.0.1", "169.253.0.1"]
            .into_iter()
            .chain(["2606:4700:4700::1111", "2a00:1450:4001::1", "2003::1", "::ffff:8.8.8.8"])
        {
            assert_eq!(https(ip), Ok(()), "{ip}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let v4 = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
        ];
        let v6 = [
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a00:1",
            "100::1",
            "2001::1",
            "2001:0:7f00:1::",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ];
        for ip in v4.into_iter().chain(v6) {
            let canonical = ip.parse::<IpAddr>().unwrap().to_canonical();
            assert_eq!(https(ip), Err(AddressError::NotPublic(canonical)), "{ip}");
        }
    }

    #[test]
    fn the_allow_list_opens_its_networks_and_no_others() {
        let allowed = ["127.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for ip in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1"] {
            for scheme in [Scheme::Https, Scheme::Http] {
                assert_eq!(check(ip.parse().unwrap(), scheme, &allowed), Ok(()), "{ip}");
            }
        }
        for ip in ["10.0.0.1", "::1", "fe80::1"] {
            assert!(check(ip.parse().unwrap(), Scheme::Https, &allowed).is_err(), "{ip}");
        }
        let public = "8.8.8.8".parse().unwrap();
        assert_eq!(check(public, Scheme::Http, &allowed), Err(AddressError::PlainHttp(public)));
    }

    #[tokio::test]
    async fn a_name_is_judged_by_its_addresses() {
        let resolve = async |name: &str, allow: &[&str]| {
            let allow_networks = allow.iter().map(|net| net.parse().unwrap()).collect();
            let resolver = GuardedResolver::new(Arc::new(Policy { allow_networks }), Scheme::Https);
            resolver.resolve(name.parse().unwrap()).await.map(Iterator::count)
        };
        let refused = resolve("localhost", &[]).await.unwrap_err();
        assert!(refused.downcast_ref::<AddressError>().is_some(), "{refused}");
        assert!(resolve("localhost", &["127.0.0.0/8", "::1/128"]).await.unwrap() > 0);
    }
}
