//! One object as bytes. Pure: `decode` gives back what `encode` was given, or nothing.
//!
//! Every text is a length (u32 LE) and its bytes; lists are a count (u32 LE) and their items.

use bytes::Bytes;
use pingora_cache::CacheMeta;
use pingora_cache::key::{CompactCacheKey, HashBinary};

use crate::cache::entry;
use crate::cache::store::{Coded, Label, Object};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub primary: HashBinary,
    pub variance: Option<HashBinary>,
    pub user_tag: String,
    /// Pingora's packed form of the times, and of the headers.
    pub times: Vec<u8>,
    pub header: Vec<u8>,
    pub place: String,
    pub tags: Vec<String>,
    /// In any number of pieces; one after decoding.
    pub body: Vec<Bytes>,
}

impl Record {
    /// `None` if Pingora cannot pack the headers, or the next process makes it itself.
    pub fn of(object: &Object) -> Option<Record> {
        if object.meta.extensions().get::<Coded>().is_some() {
            return None;
        }
        let (times, header) = object.meta.serialize().ok()?;
        Some(Record {
            primary: object.key.primary,
            variance: object.key.variance.as_deref().copied(),
            user_tag: object.key.user_tag.to_string(),
            times,
            header,
            place: object.label.place().to_owned(),
            tags: object.label.tags().map(str::to_owned).collect(),
            body: object.body.clone(),
        })
    }

    /// `None` if the headers are not what this version of Pingora packs.
    pub fn into_object(self) -> Option<Object> {
        let mut meta = CacheMeta::deserialize(&self.times, &self.header).ok()?;
        let terms = entry::restored(&meta);
        meta.extensions_mut().insert(terms);
        Some(Object {
            key: CompactCacheKey {
                primary: self.primary,
                variance: self.variance.map(Box::new),
                user_tag: self.user_tag.into(),
            },
            meta,
            label: Label::at(&self.place, self.tags.iter().map(String::as_str)),
            body: self.body,
        })
    }

    /// Appends it. `None`, and half of it is there, if a length does not fit 32 bits.
    pub fn encode(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(&self.primary);
        let variance = self.variance.as_ref().map_or(&[][..], |hash| hash);
        for text in [
            variance,
            self.user_tag.as_bytes(),
            &self.times,
            &self.header,
        ] {
            put(out, text)?;
        }
        put(out, self.place.as_bytes())?;
        put_len(out, self.tags.len())?;
        for tag in &self.tags {
            put(out, tag.as_bytes())?;
        }
        put_len(out, self.body.iter().map(Bytes::len).sum())?;
        for piece in &self.body {
            out.extend_from_slice(piece);
        }
        Some(())
    }

    /// `None` unless `bytes` are exactly one record.
    pub fn decode(mut bytes: &[u8]) -> Option<Record> {
        let rest = &mut bytes;
        let (primary, after) = rest.split_first_chunk()?;
        *rest = after;
        let record = Record {
            primary: *primary,
            variance: match take(rest)? {
                [] => None,
                hash => Some(hash.try_into().ok()?),
            },
            user_tag: take_text(rest)?,
            times: take(rest)?.to_vec(),
            header: take(rest)?.to_vec(),
            place: take_text(rest)?,
            tags: (0..take_len(rest)?)
                .map(|_| take_text(rest))
                .collect::<Option<_>>()?,
            body: match take(rest)? {
                [] => Vec::new(),
                body => vec![Bytes::copy_from_slice(body)],
            },
        };
        rest.is_empty().then_some(record)
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) -> Option<()> {
    let len = u32::try_from(len).ok()?;
    out.extend_from_slice(&len.to_le_bytes());
    Some(())
}

fn put(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    put_len(out, text.len())?;
    out.extend_from_slice(text);
    Some(())
}

fn take_len(rest: &mut &[u8]) -> Option<usize> {
    let (len, after) = rest.split_first_chunk()?;
    *rest = after;
    usize::try_from(u32::from_le_bytes(*len)).ok()
}

fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_len(rest)?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(text)
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(take(rest)?.to_vec()).ok()
}
