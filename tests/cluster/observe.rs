//! What the checks may see of a server: read-only, and the same for every server, whatever its
//! role. The processes behave the same whether or not they are looked at.

use pbkv::kv::command::{Key, Value};
use pbkv::protocol::server::Server;
use pbkv::protocol::view::Stamp;
use pbkv::types::{HistoryId, Incarnation, OperationNumber, ViewId};

/// A look at a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub incarnation: Incarnation,
    /// The newest record it has adopted.
    pub adopted: Option<Stamp>,
    /// The last applied operation.
    pub applied: OperationNumber,
    /// Digest of the state there.
    pub digest: u64,
    /// It would answer clients now, as primary.
    pub serving: bool,
    /// Lineage of its copy.
    pub since: Option<ViewId>,
    /// The history it knows.
    pub history: Option<HistoryId>,
}

/// A look at a server, if it can be looked at.
pub fn server(_: &Server) -> Option<Seen> {
    None
}

/// The list that a server has under a key.
pub fn value(_: &Server, _: &Key) -> Option<Vec<Value>> {
    None
}

/// Whether the functions here show anything.
pub fn can_look(_: &Server) -> bool {
    false
}
