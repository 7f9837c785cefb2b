//! stub
use crate::kv::command::OperationResult;
use crate::types::{OperationNumber, RequestNumber, SessionId};
use serde::{Deserialize, Serialize};

/// One session, as it is replicated, transferred and covered by the digest.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct SessionState {
    /// Its name.
    pub id: SessionId,
    /// Drawn by the client that opened it.
    pub nonce: u64,
    /// Requests up to this one are executed, each once and in order.
    pub executed: RequestNumber,
    /// Requests up to this one have been answered to the client; their results are gone.
    pub acknowledged: RequestNumber,
    /// The last operation that used the session: decides who is evicted.
    pub last_used: OperationNumber,
    /// Results of the requests after `acknowledged`, up to `executed`.
    pub results: std::collections::VecDeque<OperationResult>,
}
