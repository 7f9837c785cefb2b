//! What is known of the cluster: the newest word of everybody, and how things went in between.
//!
//! Kept here: a server that was ever heard of is asked for ever, whoever forgets it meanwhile; all
//! that grows is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::probe::Reads;
use crate::protocol::counts::BOUNDS;
use crate::protocol::status::{ClusterStatus, CopyStatus, ServerLine, Status, Work};
use crate::time::Timestamp;
use crate::types::{Incarnation, ServerId};

/// Ticks that the sparkline shows.
const TICKS: usize = 60;
/// Servers asked, at most.
const SERVERS: usize = 256;
/// Words of a joiner that its rate is taken from: the time that remains jumps less, and still
/// follows the load within some ticks.
const JOINER_WORDS: usize = 8;
/// How long the view server may be silent before it is called so: at the interval of one second, it
/// may miss a tick.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Something that was said, and when.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Word<T> {
    pub(super) at: Timestamp,
    pub(super) said: T,
    pub(super) round_trip: Option<Duration>,
}

/// How the state comes to a joiner.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Transfer {
    /// Keys there.
    pub(super) keys: u64,
    /// Keys at the primary.
    pub(super) of: u64,
    /// Keys a second, over the last ticks.
    pub(super) rate: Option<f64>,
}

impl Transfer {
    pub(super) fn percent(&self) -> u64 {
        (100 * self.keys).checked_div(self.of).unwrap_or(100).min(100)
    }

    /// Seconds that remain at this rate.
    pub(super) fn remaining(&self) -> Option<f64> {
        let rate = self.rate.filter(|rate| *rate > 0.0)?;
        Some(self.of.saturating_sub(self.keys) as f64 / rate)
    }
}

/// Operations a second, as far as they are known.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Rates {
    /// Answered by the primary.
    pub(super) reads: Option<f64>,
    /// Applied, whoever was primary.
    pub(super) writes: Option<f64>,
}

impl Rates {
    /// All operations; none if nothing is known.
    pub(super) fn sum(&self) -> Option<f64> {
        let known = self.reads.is_some() || self.writes.is_some();
        known.then(|| self.reads.unwrap_or(0.0) + self.writes.unwrap_or(0.0))
    }
}

/// What one process did in some time.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Served {
    pub(super) reads: Option<Work>,
    pub(super) writes: Option<Work>,
}

/// A time, as far as a histogram can tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Took {
    /// No longer than this, in microseconds.
    Within(u64),
    /// Longer than the histogram can say.
    Longer,
}

/// How long this share of the operations took.
pub(super) fn quantile(work: &Work, share: f64) -> Option<Took> {
    let all: u64 = work.buckets.iter().sum();
    let wanted = (all as f64 * share).ceil().max(1.0) as u64;
    let mut sum = 0;
    let found = work.buckets.iter().position(|bucket| {
        sum += bucket;
        sum >= wanted
    })?;
    Some(BOUNDS.get(found).map_or(Took::Longer, |nanos| Took::Within(nanos / 1000)))
}

/// One server, as far as anybody knows.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Server {
    /// By the view server.
    pub(super) line: Option<ServerLine>,
    /// By itself.
    pub(super) word: Option<Word<CopyStatus>>,
    /// Its word before that one, to tell rates.
    former: Option<Word<CopyStatus>>,
    /// How many keys it had when, while it joins in one view; the newest last.
    joined: VecDeque<(Timestamp, usize)>,
    address: Option<SocketAddr>,
}

impl Server {
    /// Before this becomes its word.
    fn note_joining(&mut self, at: Timestamp, copy: &CopyStatus) {
        let goes_on = self.word.as_ref().is_some_and(|word| {
            (&word.said.role, word.said.view, word.said.incarnation)
                == (&copy.role, copy.view, copy.incarnation)
        });
        if !goes_on {
            self.joined.clear();
        }
        if copy.role == "joining" {
            if self.joined.len() >= JOINER_WORDS {
                self.joined.pop_front();
            }
            self.joined.push_back((at, copy.keys));
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Picture {
    pub(super) view_server: SocketAddr,
    pub(super) cluster: Option<Word<ClusterStatus>>,
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) reads: Reads,
    /// Operations a second, the newest last.
    pub(super) rates: VecDeque<Rates>,
    /// What the primary did since the tick before.
    pub(super) served: Served,
    /// The primary's last count of operations.
    counted: Option<(Incarnation, u64, Timestamp)>,
    /// When everybody was asked last.
    asked: Timestamp,
    pub(super) now: Timestamp,
}

impl Picture {
    pub(super) fn new(view_server: SocketAddr) -> Picture {
        Picture {
            view_server,
            cluster: None,
            servers: BTreeMap::new(),
            reads: Reads::default(),
            rates: VecDeque::new(),
            served: Served::default(),
            counted: None,
            asked: Timestamp::ZERO,
            now: Timestamp::ZERO,
        }
    }

    /// Who is to be asked now. What was said before is old from here on.
    pub(super) fn begin_tick(&mut self, now: Timestamp) -> Vec<SocketAddr> {
        self.asked = now;
        self.addresses()
    }

    /// Everybody who was ever heard of.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.servers.values().filter_map(|server| server.address);
        std::iter::once(self.view_server).chain(servers).collect()
    }

    /// Somebody has answered.
    pub(super) fn take(
        &mut self,
        at: Timestamp,
        from: SocketAddr,
        status: Status,
        round_trip: Option<Duration>,
    ) {
        match status {
            Status::ViewServer(cluster) => {
                for server in self.servers.values_mut() {
                    server.line = None;
                }
                for line in &cluster.servers {
                    if self.servers.len() < SERVERS || self.servers.contains_key(&line.id) {
                        let server = self.servers.entry(line.id.clone()).or_default();
                        server.address = Some(line.address);
                        server.line = Some(line.clone());
                    }
                }
                self.cluster = Some(Word { at, said: *cluster, round_trip });
            }
            Status::Server(copy) => {
                let Some(server) = self.servers.get_mut(&copy.id) else { return };
                if server.address == Some(from) {
                    server.note_joining(at, &copy);
                    let word = Word { at, said: *copy, round_trip };
                    server.former = server.word.replace(word);
                }
            }
        }
    }

    /// Everybody has been asked: how did things go since the last tick?
    pub(super) fn end_tick(&mut self, now: Timestamp, reads: Reads) {
        self.now = now;
        self.reads = reads;
        let counted =
            self.primary().map(|word| (word.said.incarnation, word.said.operations.0, word.at));
        let writes = match (self.counted, counted) {
            // Another primary goes on with the same numbers: what it adds was written meanwhile.
            (Some((_, before, then)), Some((_, count, at))) if at > then => {
                let seconds = at.since(then).as_secs_f64();
                (count >= before).then(|| (count - before) as f64 / seconds)
            }
            _ => None,
        };
        if counted.is_some() {
            self.counted = counted;
        }
        let (served, seconds) = self.work_of_primary().unzip();
        self.served = served.unwrap_or_default();
        let reads = self.served.reads.as_ref().zip(seconds);
        let reads = reads.map(|(work, seconds)| work.done as f64 / seconds);
        if self.rates.len() >= TICKS {
            self.rates.pop_front();
        }
        self.rates.push_back(Rates { reads, writes });
    }

    /// What the primary did for clients between its last two words, and in how many seconds. As
    /// soon as a backup took over, its words as a backup tell.
    fn work_of_primary(&self) -> Option<(Served, f64)> {
        let word = self.primary()?;
        let former = self.servers.get(&word.said.id)?.former.as_ref()?;
        let is_same = former.said.incarnation == word.said.incarnation && word.at > former.at;
        let (now, then) = word.said.load.as_ref().zip(former.said.load.as_ref())?;
        is_same.then(|| {
            let (reads, writes) = (now.reads.since(&then.reads), now.writes.since(&then.writes));
            let served = Served { reads: Some(reads), writes: Some(writes) };
            (served, word.at.since(former.at).as_secs_f64())
        })
    }

    /// What the view server says, if that is news.
    pub(super) fn fresh_cluster(&self) -> Option<&ClusterStatus> {
        let word = self.cluster.as_ref()?;
        let is_fresh = self.is_fresh(word) || self.now.since(word.at) <= PATIENCE;
        is_fresh.then_some(&word.said)
    }

    /// It was said in answer to the last question.
    pub(super) fn is_fresh<T>(&self, word: &Word<T>) -> bool {
        word.at >= self.asked
    }

    /// The word of the primary: of whoever says so of itself, in the newest view.
    pub(super) fn primary(&self) -> Option<&Word<CopyStatus>> {
        let words = self.servers.values().filter_map(|server| server.word.as_ref());
        words
            .filter(|word| self.is_fresh(word) && word.said.role == "primary")
            .max_by_key(|word| (word.said.view, word.at))
    }

    /// What this server is: by its own word if that is fresh, else by the view server's. That it is
    /// drained only the view server knows.
    pub(super) fn role<'a>(&self, server: &'a Server) -> &'a str {
        let own = server.word.as_ref().filter(|word| self.is_fresh(word));
        let is_told = self.fresh_cluster().is_some();
        match (own, &server.line) {
            (_, Some(line)) if is_told && line.alive && line.role == "drained" => &line.role,
            (Some(word), _) => &word.said.role,
            (None, Some(line)) if line.alive => &line.role,
            (None, _) => "-",
        }
    }

    /// Operations that the primary has applied and this copy has not, as far as two answers of
    /// about the same time can tell.
    pub(super) fn lag(&self, server: &Server) -> Option<u64> {
        let word = server.word.as_ref().filter(|word| self.is_fresh(word))?;
        let primary = self.primary()?;
        let follows = matches!(&*word.said.role, "backup" | "joining");
        // All that there ever was is no lag: a joiner's progress is told by its keys.
        let has_some = word.said.role != "joining" || word.said.operations.0 > 0;
        (follows && has_some)
            .then(|| primary.said.operations.0.saturating_sub(word.said.operations.0))
    }

    /// How far the state has come, of a server that joins.
    pub(super) fn transfer(&self, server: &Server) -> Option<Transfer> {
        let word = server.word.as_ref().filter(|word| self.is_fresh(word))?;
        if word.said.role != "joining" {
            return None;
        }
        let of = self.primary()?.said.keys as u64;
        let (began, before) = server.joined.front().copied()?;
        let rate = (word.at > began).then(|| {
            word.said.keys.saturating_sub(before) as f64 / word.at.since(began).as_secs_f64()
        });
        Some(Transfer { keys: word.said.keys as u64, of, rate })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::Timing;
    use crate::protocol::status::{ChangeLine, Load};
    use crate::protocol::view::{Micros, Phase};
    use crate::types::{Epoch, OperationNumber, ViewId};

    const SECOND: Duration = Duration::from_secs(1);

    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 5010 + number))
    }

    pub(crate) fn cluster() -> Status {
        let view = ViewId { epoch: Epoch(1, 9), number: 6 };
        let line = |number: u16, role: &str, alive: bool| ServerLine {
            id: ServerId::from(&*format!("s{number}")),
            role: role.to_owned(),
            alive,
            synced: number < 3,
            silent: Some(Micros(if alive { 12_000 } else { 7_000_000 })),
            incarnation: Some(Incarnation(0xabc0 + u64::from(number))),
            address: address(number),
        };
        Status::ViewServer(Box::new(ClusterStatus {
            incarnation: Incarnation(5),
            view,
            phase: Some(Phase::Active),
            primary: Some(ServerId::from("s1")),
            backup: None,
            waiting: Some("waiting for s2 to receive the state".to_owned()),
            timing: Timing::default(),
            servers: vec![
                line(1, "primary", true),
                line(2, "joining", true),
                line(3, "spare", false),
            ],
            servers_left_out: 0,
            changes: vec![ChangeLine {
                view,
                phase: Phase::Active,
                primary: ServerId::from("s1"),
                backup: None,
                joining: Some(ServerId::from("s2")),
                reason: "s3 does not answer".to_owned(),
                ago: Micros(65_000_000),
            }],
        }))
    }

    fn copy(number: u16, role: &str, keys: usize, operations: u64) -> Status {
        // Three reads a write; most of both are fast.
        let work = |done: u64| Work { done, buckets: vec![0, done * 9 / 10, 0, done / 10] };
        let load = Some(Load { reads: work(3 * operations), writes: work(operations) });
        Status::Server(Box::new(CopyStatus {
            id: ServerId::from(&*format!("s{number}")),
            incarnation: Incarnation(0xabc0 + u64::from(number)),
            role: role.to_owned(),
            view: 6,
            peer: None,
            synced: true,
            keys,
            operations: OperationNumber(operations),
            load,
        }))
    }

    /// After two ticks of a cluster whose s2 joins and whose s3 is lost.
    pub(crate) fn sample() -> Picture {
        let mut picture = Picture::new(address(0));
        let mut now = Timestamp(1_000_000_000);
        for tick in 0..2u64 {
            let round_trip = Some(Duration::from_micros(180));
            picture.begin_tick(now);
            picture.take(now, address(0), cluster(), round_trip);
            picture.take(now, address(1), copy(1, "primary", 1000, 100 + 500 * tick), round_trip);
            let keys = 100 + 300 * usize::try_from(tick).unwrap();
            picture.take(now, address(2), copy(2, "joining", keys, 90), None);
            let reads = Reads {
                done: 40,
                p50: Some(120),
                p90: Some(200),
                p99: Some(900),
                max: Some(1500),
                ..Reads::default()
            };
            picture.end_tick(now, reads);
            now = now + SECOND;
        }
        picture
    }

    #[test]
    fn that_a_server_is_drained_only_the_view_server_knows() {
        let mut picture = sample();
        let Status::ViewServer(mut cluster) = cluster() else { panic!() };
        cluster.servers[2].role = "drained".to_owned();
        for (alive, role) in [(true, "drained"), (false, "spare")] {
            cluster.servers[2].alive = alive;
            let now = picture.now + SECOND;
            picture.begin_tick(now);
            picture.take(now, address(0), Status::ViewServer(cluster.clone()), None);
            picture.take(now, address(3), copy(3, "spare", 0, 0), None);
            picture.end_tick(now, Reads::default());
            assert_eq!(picture.role(&picture.servers[&ServerId::from("s3")]), role);
        }
    }

    #[test]
    fn everybody_heard_of_is_asked_even_when_the_view_server_is_silent() {
        let mut picture = sample();
        let later = picture.now + 10 * SECOND;
        let everybody = [address(0), address(1), address(2), address(3)];
        assert_eq!(picture.begin_tick(later), everybody);
        picture.end_tick(later, Reads::default());
        assert!(picture.fresh_cluster().is_none());
        assert_eq!(picture.begin_tick(later), everybody);
        assert!(picture.primary().is_none());
    }

    #[test]
    fn rates_come_from_two_ticks() {
        let picture = sample();
        let rates = Rates { reads: Some(1500.0), writes: Some(500.0) };
        assert_eq!(picture.rates, [Rates::default(), rates]);
        assert_eq!((rates.sum(), Rates::default().sum()), (Some(2000.0), None));
        let writes = picture.served.writes.as_ref().unwrap();
        assert_eq!((writes.done, quantile(writes, 0.5)), (500, Some(Took::Within(25))));
        assert_eq!(quantile(writes, 0.99), Some(Took::Within(100)));
        let transfer = picture.transfer(&picture.servers[&ServerId::from("s2")]).unwrap();
        assert_eq!((transfer.percent(), transfer.rate), (40, Some(300.0)));
        assert_eq!(transfer.remaining(), Some(2.0));
        assert_eq!(picture.lag(&picture.servers[&ServerId::from("s2")]), Some(510));
        assert_eq!(picture.lag(&picture.servers[&ServerId::from("s1")]), None);
    }

    #[test]
    fn the_rate_of_a_transfer_is_that_of_the_last_ticks_and_of_one_attempt() {
        let mut picture = sample();
        let mut tick = |keys: usize, view: u64| {
            let later = picture.now + SECOND;
            picture.begin_tick(later);
            let Status::Server(mut said) = copy(2, "joining", keys, 0) else { panic!() };
            said.view = view;
            picture.take(later, address(2), Status::Server(said), None);
            let Status::Server(mut said) = copy(1, "primary", 9000, 100_000) else { panic!() };
            said.view = view;
            picture.take(later, address(1), Status::Server(said), None);
            picture.end_tick(later, Reads::default());
            let joiner = &picture.servers[&ServerId::from("s2")];
            assert_eq!(picture.lag(joiner), None, "it has nothing yet");
            picture.transfer(joiner).unwrap().rate
        };
        assert_eq!(tick(0, 90), None, "another attempt");
        assert_eq!(tick(1000, 90), Some(1000.0));
        assert_eq!(tick(4000, 90), Some(2000.0), "not 3000");
        for number in 1..20 {
            tick(4000 + 100 * number, 90);
        }
        assert_eq!(tick(6000, 90), Some(100.0), "what was long ago is forgotten");
        assert_eq!(tick(50, 91), None);
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let work = |buckets: &[u64]| Work { done: 0, buckets: buckets.to_vec() };
        assert_eq!(quantile(&work(&[]), 0.5), None);
        assert_eq!(quantile(&work(&[0, 0]), 0.5), None);
        assert_eq!(quantile(&work(&[1, 1]), 0.5), Some(Took::Within(10)));
        assert_eq!(quantile(&work(&[1, 1]), 0.51), Some(Took::Within(25)));
        let mut last = [0; BOUNDS.len() + 1];
        last[BOUNDS.len()] = 1;
        assert_eq!(quantile(&work(&last), 0.01), Some(Took::Longer));
    }

    #[test]
    fn what_another_process_has_done_is_no_rate() {
        let mut picture = sample();
        let later = picture.now + SECOND;
        picture.begin_tick(later);
        let Status::Server(mut said) = copy(1, "primary", 1000, 9000) else { panic!() };
        said.incarnation = Incarnation(1);
        picture.take(later, address(1), Status::Server(said), None);
        picture.end_tick(later, Reads::default());
        assert_eq!(picture.rates.back().unwrap().reads, None);
        assert_eq!(picture.served, Served::default());
    }

    #[test]
    fn a_word_from_elsewhere_is_not_believed() {
        let mut picture = sample();
        let before = picture.clone();
        picture.take(picture.now, address(9), copy(2, "primary", 1, 1), None);
        assert_eq!(picture, before);
    }

    #[test]
    fn a_lost_server_has_no_role_and_a_primary_is_known_without_the_view_server() {
        let picture = sample();
        assert_eq!(picture.role(&picture.servers[&ServerId::from("s3")]), "-");
        assert_eq!(picture.primary().map(|word| word.said.id.to_string()).as_deref(), Some("s1"));
    }
}
