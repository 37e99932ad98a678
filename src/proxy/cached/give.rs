//! Gives a client what is stored, or on its way into the store.
//!
//! Pieces of the body go out as they lie in the store. Only who waits for a piece watches the client and
//! the clock; what is there is given without waiting. A body that breaks off never looks whole.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{AGE, DATE};
use pingora_cache::storage::HandleHit;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{ResponseHeader, header_value_from_slice};
use pingora_proxy::Session;

use super::as_stored;
use super::coding::CodedForm;
use super::form::Form;
use super::told::Told;
use crate::cache::compress::coded_head;
use crate::cache::entry::Stored;
use crate::cache::route::RouteCache;
use crate::cache::store::{Read, Reader};
use crate::proxy::ctx::RequestCtx;
use crate::proxy::exchange;
use crate::proxy::forward::{break_off, client_ended, finish, give_body, show_what_was_given};

pub(super) struct Serving<'a> {
    pub(super) stored: &'a Stored,
    /// Given in place of what is stored.
    pub(super) coded: Option<CodedForm>,
    pub(super) told: Told,
    pub(super) route: &'a RouteCache,
    /// `None`: it comes straight from the endpoint.
    pub(super) age: Option<Duration>,
}

pub(super) async fn give(
    serving: &Serving<'_>,
    mut reader: Reader,
    session: &mut Session,
    ctx: &RequestCtx,
) -> Result<()> {
    let length = serving.length();
    let form = match Form::is_whole_for(session.req_header()) {
        true => Form::Whole,
        false => Form::of(session.req_header(), &*serving.head()?, length),
    };
    let as_stored = length
        .filter(|_| form == Form::Whole && serving.told.for_asker.is_empty())
        .and_then(|length| as_stored::head(serving, length, session, ctx));
    let head = match as_stored {
        Some(head) => head?,
        None => made(serving, &form, session, ctx)?,
    };
    let date = serving.stored.found.meta.value(&DATE);
    exchange::keep_date(session, date.map(header_value_from_slice));
    let written = session.as_downstream_mut().write_response_header(head);
    written.await.map_err(|error| error.into_down())?;
    let given = match session.req_header().method {
        Method::HEAD => Ok(()),
        _ => give_form(&mut reader, &form, session).await,
    };
    if given.is_err() {
        show_what_was_given(session).await;
        break_off(session);
        return given;
    }
    finish(session).await
}

/// A head that is not the one of the whole.
fn made(
    serving: &Serving<'_>,
    form: &Form,
    session: &mut Session,
    ctx: &RequestCtx,
) -> Result<Box<ResponseHeader>> {
    let mut head = Box::new(serving.head()?.into_owned());
    form.apply(&mut head, serving.length())?;
    for (name, value) in &serving.told.for_asker {
        head.append_header(name.clone(), value.clone())?;
    }
    if let Some(age) = serving.age {
        head.insert_header(AGE, age.as_secs())?;
    }
    serving.told.write(&mut head, serving.route)?;
    exchange::prepare_stored(session, &mut head, ctx);
    Ok(head)
}

impl Serving<'_> {
    /// Of what is given, as far as it is known by now.
    fn length(&self) -> Option<u64> {
        let Some(coded) = &self.coded else {
            return self.stored.length();
        };
        coded.found.body.whole_len().map(|length| length as u64)
    }

    /// Of the whole. Its fields are those of what is stored, which may have been renewed since it was
    /// coded.
    fn head(&self) -> Result<Cow<'_, ResponseHeader>> {
        let stored = self.stored.head();
        match &self.coded {
            Some(coded) => coded_head(stored, coded.coding).map(Cow::Owned),
            None => Ok(Cow::Borrowed(stored)),
        }
    }
}

async fn give_form(reader: &mut Reader, form: &Form, session: &mut Session) -> Result<()> {
    match form {
        Form::Whole => give_rest(reader, session).await,
        Form::NotModified | Form::Unsatisfiable(_) => Ok(()),
        Form::Part(range, _) => {
            seek(reader, range)?;
            give_rest(reader, session).await
        }
        Form::Parts(multipart) => {
            for (head, range) in &multipart.parts {
                give_body(head, &mut session.downstream_session).await?;
                seek(reader, range)?;
                give_rest(reader, session).await?;
            }
            give_body(&multipart.end, &mut session.downstream_session).await
        }
    }
}

fn seek(reader: &mut Reader, range: &Range<u64>) -> Result<()> {
    let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    reader.seek(place(range.start), Some(place(range.end)))
}

/// Everything up to the end of the body, or of what was sought.
async fn give_rest(reader: &mut Reader, session: &mut Session) -> Result<()> {
    loop {
        let piece = match reader.read() {
            Read::Piece(piece) => piece,
            Read::End => return Ok(()),
            Read::Failed => return Err(broken_off()),
            Read::Wait => match wait(reader, session).await? {
                Some(piece) => piece,
                None => return Ok(()),
            },
        };
        give_body(&piece, &mut session.downstream_session).await?;
    }
}

async fn wait(reader: &mut Reader, session: &mut Session) -> Result<Option<Bytes>> {
    tokio::select! {
        biased;
        piece = reader.next() => piece.map_err(|_| broken_off()),
        error = client_ended(session) => Err(error),
    }
}

/// The endpoint's fault: to the client it is as if it had asked itself.
fn broken_off() -> Box<Error> {
    let what = "the response that fills the cache broke off, or this client fell too far behind";
    Error::explain(ErrorType::ConnectionClosed, what).into_up()
}
