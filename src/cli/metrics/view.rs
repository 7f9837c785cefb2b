//! The metrics of the view server.

use super::Page;
use super::text::{Writer, seconds};
use crate::cli::VERSION;
use crate::protocol::counts::Cause;
use crate::protocol::view::Phase;
use crate::protocol::view_server::{Answer, Measures, ServerStatus};
use crate::runtime::Totals;

/// The roles that a server knows of itself, as labels name them.
pub(super) const ROLES: [&str; 5] = ["primary", "backup", "joining", "spare", "proposed_primary"];

/// The page, of the answer to [`Command::Measure`](crate::protocol::view_server::Command::Measure).
#[must_use]
pub fn page(answer: Answer, totals: &Totals) -> Option<Page> {
    let Answer::Measures(measures) = answer else { return None };
    let Measures { status, phase, listens } = &*measures;
    let counts = &totals.process;
    let ready = match (phase, listens) {
        (None, _) => Err("recovering: the servers are asked for the record".to_owned()),
        (Some(_), true) => Err("listening, before anybody is judged".to_owned()),
        (Some(Phase::Proposed | Phase::Active), false) => Ok(()),
    };
    let mut writer = Writer::default();
    writer.by_word("pbkv_build_info", [(VERSION, 1)]);
    writer.value("pbkv_ready", u64::from(ready.is_ok()));
    writer.value("pbkv_view_number", status.shown.view.number);
    writer.value("pbkv_view_epoch", status.shown.view.epoch.0);
    writer.transport(totals);

    writer.value("pbkv_strange_messages_total", counts.strange_messages);
    let phases = [("recovering", None), ("proposed", Some(Phase::Proposed))];
    let phases = phases.into_iter().chain([("active", Some(Phase::Active))]);
    writer
        .by_word("pbkv_view_phase", phases.map(|(word, which)| (word, u64::from(which == *phase))));
    writer.value("pbkv_waiting", u64::from(status.shown.waiting.is_some()));
    let servers = |wanted: fn(&ServerStatus) -> bool| {
        // A drained one is a spare to itself.
        ROLES.into_iter().chain(["drained"]).map(move |role| {
            let here =
                |server: &&ServerStatus| server.role.replace(' ', "_") == role && wanted(server);
            (role, status.servers.iter().filter(here).count())
        })
    };
    writer.by_word("pbkv_servers_known", servers(|_| true));
    writer.by_word("pbkv_servers_alive", servers(|server| server.alive));
    let silence = status.servers.iter().filter_map(|server| {
        let nanos = u64::try_from(server.silent?.as_nanos()).unwrap_or(u64::MAX);
        Some((&*server.id.0, seconds(nanos)))
    });
    writer.by_word("pbkv_server_silence_seconds", silence);
    let changes = Cause::ALL.iter().map(|cause| (cause.word(), counts.changes(*cause)));
    writer.by_word("pbkv_view_changes_total", changes);
    writer.value("pbkv_pings_sent_total", counts.pings);
    writer.value("pbkv_pongs_heard_total", counts.pongs);
    writer.value("pbkv_pongs_ignored_total", counts.stray_pongs);
    writer.value("pbkv_servers_refused_total", counts.refused_servers);
    Some(Page { text: writer.finish(), ready })
}
