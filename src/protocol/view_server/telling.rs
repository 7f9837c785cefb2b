//! What the view server tells whoever asks how the cluster is.

use super::ViewServer;
use crate::protocol::status::{
    ChangeLine, ClusterStatus, ServerLine, Status, StatusReply, StatusRequest, shorten, take_within,
};
use crate::protocol::view::Member;
use crate::time::Timestamp;

impl ViewServer {
    pub(super) fn status_reply(
        &self,
        now: Timestamp,
        request: &StatusRequest,
    ) -> Option<StatusReply> {
        let budget = request.budget()?;
        let status = self.status(now);
        let record = self.record();
        let known = status.servers.len();
        let servers = status.servers.into_iter().map(|server| ServerLine {
            id: server.id,
            role: server.role,
            alive: server.alive,
            synced: server.synced,
            silent: server.silent.map(Into::into),
            incarnation: server.incarnation,
            address: server.address,
        });
        let (servers, left) = take_within(servers, ServerLine::size, budget);
        let id = |member: &Member| member.id.clone();
        let changes = self.view_changes().rev().map(|change| ChangeLine {
            view: change.view.id,
            phase: change.phase,
            primary: id(&change.view.primary),
            backup: change.view.backup.as_ref().map(id),
            joining: change.view.joining.as_ref().map(id),
            reason: change.reason.clone(),
            ago: now.since(change.at).into(),
        });
        let (changes, _) = take_within(changes, ChangeLine::size, left);
        let cluster = ClusterStatus {
            incarnation: self.config.incarnation,
            view: record.map(|record| record.view.id).unwrap_or_default(),
            phase: record.map(|record| record.phase),
            primary: status.shown.primary.as_ref().map(id),
            backup: status.shown.backup.as_ref().map(id),
            waiting: status.shown.waiting.map(shorten),
            timing: *self.timing(),
            servers_left_out: known - servers.len(),
            servers,
            changes,
        };
        let status = Status::ViewServer(Box::new(cluster));
        Some(StatusReply { client: request.client, id: request.id, status })
    }
}
