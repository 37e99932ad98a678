//! Sticky sessions: a cookie that brings a client back to the endpoint that answered it.
//!
//! Definition: the value is base64url(HMAC-SHA256(secret, pool NUL address)[..16]), so it tells nothing
//! of the endpoint and cannot be made up (Caddy signs likewise; unsigned values are forged, and plain
//! ones leak addresses). The first secret signs, all verify: a new one goes in front, the old one
//! leaves when its cookies have expired. Values are worked out when the membership is built; a request
//! compares its own with each, in constant time.
//!
//! Bound: at most four values of a request are looked at. A drained endpoint keeps its clients and
//! gets no others. Where the endpoint cannot serve, the selector chooses another and the client gets
//! its cookie, or with `strict` it is refused. An endpoint that left the pool is as one never known.
//! A sticky pick counts as in-flight and in resources; `round_robin` does not count it as a turn.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, header};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::member::Member;
use super::peer::PeerError;
use super::pick_context::Wanted;
use super::selector::Outlook;
use crate::config::model::{self, Secret, Secrets};

/// Of what the hash has: 128 bits cannot be guessed.
const HASH_BYTES: usize = 16;
/// `HASH_BYTES` in base64.
const TOKEN_BYTES: usize = 22;
/// More cookies of one name than this are not a browser's.
const VALUES_MAX: usize = 4;

/// A cookie's value.
pub type Token = [u8; TOKEN_BYTES];

/// A pool's cookie.
pub struct Sticky {
    pool: String,
    name: String,
    /// All that follows the value.
    attributes: String,
    is_strict: bool,
    /// The first signs, all verify. Never empty.
    keys: Vec<hmac::Key>,
}

impl Sticky {
    /// Reads the file of secrets, if there is one.
    pub fn build(pool: &str, config: &model::Sticky) -> Result<Sticky, PeerError> {
        let secrets = match &config.secrets {
            Secrets::Given(secrets) => secrets.clone(),
            Secrets::File(file) => read(pool, file)?,
        };
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, secret.0.as_bytes());
        Ok(Sticky {
            pool: pool.to_owned(),
            name: config.cookie.clone(),
            attributes: attributes(config),
            is_strict: config.strict,
            keys: secrets.iter().map(key).collect(),
        })
    }

    /// What the endpoint's clients may bring; the first is what they are given.
    pub fn tokens(&self, endpoint: &str) -> Box<[Token]> {
        let id = format!("{}\0{endpoint}", self.pool);
        let tokens = self.keys.iter().map(|key| token(key, id.as_bytes()));
        tokens.collect()
    }

    /// The `Set-Cookie` with this value; `None` cannot be, for name and attributes were checked.
    pub fn set_cookie(&self, token: &Token) -> Option<HeaderValue> {
        let value = std::str::from_utf8(token).ok()?;
        HeaderValue::try_from(format!("{}={value}{}", self.name, self.attributes)).ok()
    }

    /// What the request has that may be ours.
    pub fn brought(&self, headers: &HeaderMap) -> Brought {
        let mut brought = Brought::default();
        let values = values(headers, &self.name);
        for (place, value) in brought.0.iter_mut().zip(values) {
            *place = Some(value);
        }
        brought
    }

    /// What it asks for, among `members`.
    pub(super) fn affinity(&self, brought: &Brought, members: &[Arc<Member>]) -> Affinity {
        let mut affinity = Affinity {
            is_strict: self.is_strict,
            ..Affinity::default()
        };
        for value in brought.0.iter().flatten() {
            for member in members {
                if let Some(place) = place_of(value, &member.tokens) {
                    affinity.member = Some(member.clone());
                    affinity.is_current = place == 0;
                    return affinity;
                }
            }
        }
        affinity
    }
}

/// The values of a request's cookies of the pool's name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brought([Option<Token>; VALUES_MAX]);

/// One secret in each line; what is too short is none.
fn read(pool: &str, file: &Path) -> Result<Vec<Secret>, PeerError> {
    let text = fs::read_to_string(file).map_err(|source| PeerError::Read {
        pool: pool.to_owned(),
        file: file.to_owned(),
        source,
    })?;
    let secrets = Secret::in_lines(&text);
    if secrets.is_empty() {
        return Err(PeerError::Content {
            pool: pool.to_owned(),
            file: file.to_owned(),
            problem: "holds no secret",
        });
    }
    Ok(secrets)
}

fn attributes(config: &model::Sticky) -> String {
    let age = |ttl: Duration| format!("; Max-Age={}", ttl.as_secs());
    let age = config.ttl.map(age).unwrap_or_default();
    let secure = if config.secure { "; Secure" } else { "" };
    let (path, same_site) = (&config.path, config.same_site.name());
    format!("; Path={path}{age}{secure}; HttpOnly; SameSite={same_site}")
}

fn token(key: &hmac::Key, id: &[u8]) -> Token {
    let tag = hmac::sign(key, id);
    let mut token = [0; TOKEN_BYTES];
    let written = URL_SAFE_NO_PAD.encode_slice(&tag.as_ref()[..HASH_BYTES], &mut token);
    debug_assert_eq!(written, Ok(TOKEN_BYTES));
    token
}

/// The values of the cookies of that name, over all `Cookie` lines, that are as long as ours.
fn values(headers: &HeaderMap, name: &str) -> impl Iterator<Item = Token> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter_map(move |pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Token::try_from(value).ok()
    })
}

/// Looks at all of them, however early one is equal.
fn place_of(value: &Token, tokens: &[Token]) -> Option<usize> {
    let mut found = None;
    for (place, token) in tokens.iter().enumerate().rev() {
        if bool::from(value.ct_eq(token)) {
            found = Some(place);
        }
    }
    found
}

/// What one request's cookie asks for, and what has become of that.
#[derive(Default)]
pub(super) struct Affinity {
    /// The client's endpoint; `None`: it has none, or that one cannot serve it.
    member: Option<Arc<Member>>,
    /// The client has the value that would be given today.
    is_current: bool,
    is_strict: bool,
    is_leased: bool,
}

pub(super) enum Look {
    /// The client's endpoint is to be asked.
    Stay(Arc<Member>),
    /// The selector decides.
    Choose,
    /// No other may be asked.
    Stop(Outlook),
}

impl Affinity {
    /// Who is to be asked next. The client's endpoint is asked once.
    pub(super) fn look(&self, wanted: &Wanted) -> Look {
        let Some(member) = &self.member else {
            return Look::Choose;
        };
        let outlook = match self.is_leased {
            true => Outlook::NoneReady,
            false => Outlook::at(&member.endpoint, member.limit(), &member.room, wanted),
        };
        match outlook {
            Outlook::Open => Look::Stay(member.clone()),
            refusal if self.is_strict => Look::Stop(refusal),
            _ => Look::Choose,
        }
    }

    /// Whether no endpoint but the client's own may be asked.
    pub(super) fn is_bound(&self) -> bool {
        self.is_strict && self.member.is_some()
    }

    /// Whether it is the client's endpoint and was asked.
    pub(super) fn has_had(&self, member: &Arc<Member>) -> bool {
        self.is_leased && self.is_own(member)
    }

    /// Takes note of who is asked; true: the client has not what would bring it back there.
    pub(super) fn lease(&mut self, member: &Arc<Member>) -> bool {
        let is_own = self.is_own(member);
        if is_own {
            self.is_leased = true;
        } else if !self.is_leased {
            self.member = None;
        }
        !(is_own && self.is_current)
    }

    fn is_own(&self, member: &Arc<Member>) -> bool {
        let own = self.member.as_ref();
        own.is_some_and(|own| Arc::ptr_eq(own, member))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SameSite;

    fn sticky(secrets: &[&str]) -> Sticky {
        let secret = |text: &&str| Secret((*text).to_owned());
        let config = model::Sticky {
            cookie: "at".to_owned(),
            secrets: Secrets::Given(secrets.iter().map(secret).collect()),
            ttl: Some(Duration::from_secs(60)),
            strict: false,
            secure: true,
            same_site: SameSite::Lax,
            path: "/".to_owned(),
        };
        Sticky::build("web", &config).unwrap()
    }

    #[test]
    fn the_value_is_the_keyed_hash_of_pool_and_endpoint() {
        // printf 'web\0%s' 10.0.0.1:80 | openssl dgst -sha256 -hmac 0123456789abcdef -binary | head -c 16 | basenc --base64url
        let [token] = *sticky(&["0123456789abcdef"]).tokens("10.0.0.1:80") else {
            panic!("one secret gives one token");
        };
        assert_eq!(std::str::from_utf8(&token), Ok("AG9Rxh4ehFkIH8MgXaYo-Q"));
    }

    #[test]
    fn each_secret_and_each_endpoint_has_its_own_value() {
        let sticky = sticky(&["new secret of today", "old secret of then"]);
        let [new, old] = *sticky.tokens("10.0.0.1:80") else {
            panic!("two secrets give two tokens");
        };
        assert_ne!(new, old);
        assert_ne!(sticky.tokens("10.0.0.2:80")[0], new);
        assert_eq!(place_of(&old, &[new, old]), Some(1));
        assert_eq!(place_of(&[b'A'; TOKEN_BYTES], &[new, old]), None);
    }

    #[test]
    fn values_are_found_wherever_they_stand_and_only_by_the_whole_name() {
        let value = b"0123456789abcdefghijkl";
        let text = str::from_utf8(value).unwrap();
        let mut headers = HeaderMap::new();
        for line in [
            format!("a=b;at={text} ; xat={text}"),
            format!("at=x; at={text}; at"),
        ] {
            headers.append(header::COOKIE, HeaderValue::try_from(line).unwrap());
        }
        let found: Vec<_> = values(&headers, "at").collect();
        assert_eq!(found, [*value; 2]);
    }

    #[test]
    fn the_cookie_has_every_attribute_that_is_asked_for() {
        let set = sticky(&["0123456789abcdef"])
            .set_cookie(&[b'x'; TOKEN_BYTES])
            .unwrap();
        assert_eq!(
            set,
            "at=xxxxxxxxxxxxxxxxxxxxxx; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax"
        );
    }
}
