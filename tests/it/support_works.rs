//! The support proves itself: clients talk to origins directly, with no weir between them.

use crate::support::{Client, Origin};

mod connections;
mod replies;
mod surroundings;

fn client(origin: &Origin) -> Client {
    Client::new(origin.address())
}
