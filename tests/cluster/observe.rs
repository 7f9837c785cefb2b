//! What the checks may see of a server: read-only, and the same for every server, whatever its
//! role. The processes behave the same whether or not they are looked at.

use pbkv::kv::command::{Key, Value};
use pbkv::protocol::server::Server;
use pbkv::protocol::view::{Record, Stamp};
use pbkv::types::{HistoryId, Incarnation, OperationNumber};

/// A look at a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub incarnation: Incarnation,
    /// The newest record it has adopted.
    pub adopted: Option<Stamp>,
    /// The history that this record belongs to.
    pub history: Option<HistoryId>,
    /// The last operation applied to a complete copy, and the digest there; none without one.
    pub copy: Option<(OperationNumber, u64)>,
    /// It would answer clients now, as primary.
    pub serving: bool,
}

/// A look at the server that runs under this incarnation.
pub fn server(incarnation: Incarnation, server: &Server) -> Seen {
    let inspection = server.inspect();
    Seen {
        incarnation,
        adopted: inspection.record.map(Record::stamp),
        history: inspection.record.map(|record| record.history),
        copy: inspection.replica.map(|replica| (replica.applied(), replica.digest())),
        serving: inspection.is_serving,
    }
}

/// The list that a server has under a key, in a complete copy.
pub fn list<'a>(server: &'a Server, key: &Key) -> &'a [Value] {
    let copy = server.inspect().replica;
    copy.and_then(|replica| replica.store().get(key)).map_or(&[], |list| list.values())
}
