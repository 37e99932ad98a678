//! Which client addresses a route serves: its `allow` and `deny` lists.
//!
//! The most specific network that holds the address decides; of two that are equal, `deny` does. An
//! address in no network is refused where there is an `allow` list, else served. So the order in a
//! file never matters, and an exception is written as the smaller network. Pure; `snapshot` compiles
//! a filter for each route, `proxy` asks it once for each request.

use std::cmp::Reverse;
use std::net::IpAddr;

use ipnet::IpNet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// A network of `deny` holds the address.
    Denied,
    /// There is an `allow` list, and no network holds the address.
    NotAllowed,
}

pub struct IpFilter {
    /// The most specific first, `deny` before `allow`.
    networks: Vec<(IpNet, Verdict)>,
    otherwise: Verdict,
}

impl IpFilter {
    /// Two empty lists let everybody pass.
    pub fn new(allow: &[IpNet], deny: &[IpNet]) -> IpFilter {
        let denied = deny.iter().map(|network| (*network, Verdict::Denied));
        let allowed = allow.iter().map(|network| (*network, Verdict::Allowed));
        let mut networks: Vec<_> = denied.chain(allowed).collect();
        // Stable, so that `deny` stays first among equals.
        networks.sort_by_key(|(network, _)| Reverse(network.prefix_len()));
        let otherwise = match allow {
            [] => Verdict::Allowed,
            _ => Verdict::NotAllowed,
        };
        IpFilter {
            networks,
            otherwise,
        }
    }

    /// `client` is as `policy::client` identified it, so never an IPv4 address in IPv6 form.
    pub fn verdict(&self, client: IpAddr) -> Verdict {
        let found = self.networks.iter().find(|(net, _)| net.contains(&client));
        found.map_or(self.otherwise, |(_, verdict)| *verdict)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn verdict(allow: &[&str], deny: &[&str], client: &str) -> Verdict {
        IpFilter::new(&networks(allow), &networks(deny)).verdict(client.parse().unwrap())
    }

    #[test]
    fn without_lists_everybody_passes() {
        assert_eq!(verdict(&[], &[], "192.0.2.1"), Verdict::Allowed);
        assert_eq!(verdict(&[], &[], "2001:db8::1"), Verdict::Allowed);
    }

    #[test]
    fn allow_alone_lets_only_its_own_pass() {
        let allow = ["10.0.0.0/8", "2001:db8::/32"];
        assert_eq!(verdict(&allow, &[], "10.1.2.3"), Verdict::Allowed);
        assert_eq!(verdict(&allow, &[], "2001:db8::1"), Verdict::Allowed);
        assert_eq!(verdict(&allow, &[], "11.0.0.1"), Verdict::NotAllowed);
        assert_eq!(verdict(&allow, &[], "2001:db9::1"), Verdict::NotAllowed);
    }

    #[test]
    fn deny_alone_refuses_only_its_own() {
        assert_eq!(verdict(&[], &["10.0.0.0/8"], "10.1.2.3"), Verdict::Denied);
        assert_eq!(verdict(&[], &["10.0.0.0/8"], "11.0.0.1"), Verdict::Allowed);
    }

    #[test]
    fn the_most_specific_network_decides() {
        let (allow, deny) = (["10.0.0.0/8", "10.1.1.1/32"], ["10.1.0.0/16"]);
        assert_eq!(verdict(&allow, &deny, "10.2.0.1"), Verdict::Allowed);
        assert_eq!(verdict(&allow, &deny, "10.1.0.1"), Verdict::Denied);
        assert_eq!(verdict(&allow, &deny, "10.1.1.1"), Verdict::Allowed);
        assert_eq!(verdict(&allow, &deny, "192.0.2.1"), Verdict::NotAllowed);
    }

    #[test]
    fn of_equal_networks_deny_decides() {
        let both = ["10.0.0.0/8"];
        assert_eq!(verdict(&both, &both, "10.0.0.1"), Verdict::Denied);
    }

    fn some_networks() -> impl Strategy<Value = Vec<IpNet>> {
        // Few bits, so that they overlap.
        let network = (0..16_u8, 0..=4_u8).prop_map(|(bits, length)| {
            let address = IpAddr::from([bits << 4, 0, 0, 0]);
            IpNet::new(address, length).unwrap().trunc()
        });
        prop::collection::vec(network, 0..6)
    }

    proptest! {
        #[test]
        fn it_agrees_with_its_definition(
            allow in some_networks(), deny in some_networks(), bits in 0..16_u8
        ) {
            let client = IpAddr::from([bits << 4, 0, 0, 1]);
            let longest = |networks: &[IpNet]| {
                let holding = networks.iter().filter(|network| network.contains(&client));
                holding.map(|network| network.prefix_len()).max()
            };
            let expected = match (longest(&allow), longest(&deny)) {
                (None, None) if allow.is_empty() => Verdict::Allowed,
                (None, None) => Verdict::NotAllowed,
                (allowed, denied) if denied >= allowed => Verdict::Denied,
                _ => Verdict::Allowed,
            };
            prop_assert_eq!(IpFilter::new(&allow, &deny).verdict(client), expected);
        }
    }
}
