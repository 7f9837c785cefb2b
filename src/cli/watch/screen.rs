//! A picture as a screen: drawn over the last one, in the terminal's alternate screen.
//!
//! Kept here: the terminal is left as it was found, also when the program panics; nothing is drawn
//! outside of the window.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::sync::mpsc;

use super::Output;
use super::picture::{Picture, Server, Took, quantile};
use super::report::phase;
use crate::cli::CliError;
use crate::cli::blame::width;
use crate::cli::log_line::bar;
use crate::cli::serve::on_own_thread;
use crate::cli::style::Style;
use crate::cli::terminal::printable;
use crate::protocol::status::Work;
use crate::types::ServerId;

/// How a row looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Look {
    Plain,
    Strong,
    Dim,
    Good,
    Doubtful,
    Bad,
}

type Row = (Look, String);

/// See the module.
pub(super) struct Screen {
    style: Style,
    kept: Option<Termios>,
}

impl Screen {
    pub(super) fn open(style: Style) -> Screen {
        let kept = tcgetattr(std::io::stdin()).ok();
        if let Some(kept) = &kept {
            // One key is enough, and is not seen. Ctrl-C still is a signal.
            let mut single = kept.clone();
            single.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &single);
        }
        let screen = Screen { style, kept };
        let _ = screen.write("\x1b[?1049h\x1b[?25l\x1b[2J");
        screen
    }

    fn write(&self, text: &str) -> std::io::Result<()> {
        let mut output = std::io::stdout();
        output.write_all(text.as_bytes()).and_then(|()| output.flush())
    }

    pub(super) fn draw(&mut self, picture: &Picture, every: Duration) -> std::io::Result<()> {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_col > 0);
        let (columns, height) =
            size.map_or((80, 24), |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        self.write(&self.drawn(rows(picture, every, columns), columns, height))
    }

    /// What draws these rows in a window of this size.
    fn drawn(&self, rows: Vec<Row>, columns: usize, height: usize) -> String {
        let mut text = String::from("\x1b[H");
        for (at, (look, row)) in rows.into_iter().take(height).enumerate() {
            // An end of line in the last row would scroll.
            if at > 0 {
                text.push_str("\r\n");
            }
            // Cleared first: behind a row that fills its line, its last character would go.
            text.push_str("\x1b[K");
            text.push_str(&self.paint(look, &cut(&printable(&row), columns)));
            if at + 1 == height {
                return text;
            }
        }
        text + "\r\n\x1b[J"
    }

    fn paint(&self, look: Look, row: &str) -> String {
        match look {
            Look::Plain => row.to_owned(),
            Look::Strong => self.style.strong(row),
            Look::Dim => self.style.dim(row),
            Look::Good => self.style.good(row),
            Look::Doubtful => self.style.doubtful(row),
            Look::Bad => self.style.bad(row),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.write("\x1b[?25h\x1b[?1049l");
        if let Some(kept) = &self.kept {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, kept);
        }
    }
}

/// Says when a person wants to leave: `q`, or the end of the input. Nobody does where there is no
/// screen.
pub(super) fn keys(output: &Output) -> Result<mpsc::Receiver<()>, CliError> {
    let (leave, left) = mpsc::channel(1);
    if matches!(output, Output::Screen(_)) && std::io::stdin().is_terminal() {
        drop(on_own_thread(move || {
            for key in std::io::stdin().lock().bytes() {
                if matches!(key, Ok(b'q' | b'Q' | 4) | Err(_)) {
                    break;
                }
            }
            let _ = leave.blocking_send(());
        })?);
    }
    Ok(left)
}

fn rows(picture: &Picture, every: Duration, columns: usize) -> Vec<Row> {
    let mut rows = heading(picture, every, columns);
    rows.push((Look::Plain, String::new()));
    rows.push((Look::Plain, load(picture, columns)));
    rows.extend(served(picture, columns).into_iter().map(|row| (Look::Plain, row)));
    rows.push((Look::Plain, reads(picture)));
    rows.push((Look::Plain, String::new()));
    let titles = [
        "server",
        "role",
        "state",
        "last pong",
        "round trip",
        "operations",
        "lag",
        "keys",
        "incarnation",
    ];
    rows.push((Look::Dim, cells(&titles.map(str::to_owned), columns)));
    for (id, server) in &picture.servers {
        rows.extend(server_rows(picture, id, server, columns));
    }
    if picture.servers.is_empty() {
        rows.push((Look::Dim, "no servers known yet".to_owned()));
    }
    if let Some(cluster) = picture.cluster.as_ref().map(|word| &word.said) {
        if cluster.servers_left_out > 0 {
            rows.push((Look::Dim, format!("and {} more", cluster.servers_left_out)));
        }
        rows.push((Look::Plain, String::new()));
        rows.push((Look::Dim, "view changes, the newest first".to_owned()));
        // What was said some time ago is that much older now.
        let passed =
            picture.cluster.as_ref().map_or(Duration::ZERO, |word| picture.now.since(word.at));
        for change in &cluster.changes {
            let name = |id: &Option<ServerId>, sign: &str| {
                id.as_ref().map_or_else(String::new, |id| format!(" {sign} {id}"))
            };
            let members = format!(
                "{}{}{}",
                change.primary,
                name(&change.backup, "+"),
                name(&change.joining, "<-")
            );
            let ago = duration(Duration::from(change.ago) + passed);
            let (view, phase) = (change.view.to_string(), phase(change.phase));
            let reason = &change.reason;
            rows.push((
                Look::Plain,
                format!("{ago:>8} ago  {view:<6} {phase:<8}  {members:<14}  {reason}"),
            ));
        }
    }
    rows
}

fn heading(picture: &Picture, every: Duration, columns: usize) -> Vec<Row> {
    let name =
        |id: &Option<ServerId>| id.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
    let mut rows = Vec::new();
    let told = picture.fresh_cluster();
    let text = match (told, picture.primary()) {
        (Some(cluster), _) => {
            let phase = cluster.phase.map_or("", phase);
            let (primary, backup) = (name(&cluster.primary), name(&cluster.backup));
            format!("view {} {phase}   primary {primary}   backup {backup}", cluster.view)
        }
        (None, Some(word)) => {
            format!("view {}   primary {} (says it itself)", word.said.view, word.said.id)
        }
        (None, None) => "no view known".to_owned(),
    };
    let note = format!("every {}   q leaves", duration(every));
    let space = columns.saturating_sub(width(&text) + width(&note)).max(3);
    rows.push((Look::Strong, format!("{text}{}{note}", " ".repeat(space))));
    let (look, text) = match (told, &picture.cluster) {
        (Some(cluster), _) => match &cluster.waiting {
            Some(waiting) if cluster.primary.is_none() => (Look::Bad, waiting.clone()),
            Some(waiting) => (Look::Doubtful, waiting.clone()),
            None => (Look::Good, "complete: two copies, both synced".to_owned()),
        },
        (None, Some(word)) => {
            let silent = duration(picture.now.since(word.at));
            (
                Look::Bad,
                format!("the view server at {} has not answered for {silent}", picture.view_server),
            )
        }
        (None, None) => {
            (Look::Bad, format!("the view server at {} does not answer", picture.view_server))
        }
    };
    // What to do about it stands at the end.
    rows.extend(wrapped(&text, columns).into_iter().map(|row| (look, row)));
    rows
}

/// A text in rows that fit, broken between words where it can be.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    for word in text.split(' ') {
        let row = rows.last_mut().expect("there is one from the start");
        if row.is_empty() || width(row) + 1 + width(word) <= columns {
            row.push_str(if row.is_empty() { "" } else { " " });
            row.push_str(word);
        } else {
            rows.push(word.to_owned());
        }
    }
    rows
}

fn load(picture: &Picture, columns: usize) -> String {
    let shown =
        |rate: Option<f64>| rate.map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"));
    let rates = picture.rates.back().copied().unwrap_or_default();
    let parts = format!("({} reads, {} writes)", shown(rates.reads), shown(rates.writes));
    let text = format!("operations/s {:>8}  {parts:<32} ", shown(rates.sum()));
    // The newest ones: what is too much at the end would be cut off.
    let passed = picture.rates.len().saturating_sub(columns.saturating_sub(width(&text)));
    text + &sparkline(picture.rates.iter().skip(passed).map(|rates| rates.sum()))
}

/// How long operations took at the primary: in one row, or in two if that is too wide.
fn served(picture: &Picture, columns: usize) -> Vec<String> {
    let text = |name: &str, work: &Option<Work>| {
        let quantile = |share| work.as_ref().and_then(|work| quantile(work, share));
        let shown = |share| quantile(share).map_or_else(|| "-".to_owned(), took);
        format!("{name} p50 {}  p90 {}  p99 {}", shown(0.5), shown(0.9), shown(0.99))
    };
    let reads = text("at the primary:  reads", &picture.served.reads);
    let writes = text("writes", &picture.served.writes);
    let row = format!("{reads}   {writes}");
    if width(&row) <= columns {
        return vec![row];
    }
    vec![reads, format!("{:17}{writes}", "")]
}

fn reads(picture: &Picture) -> String {
    let reads = &picture.reads;
    let shown = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), micros);
    let mut text = format!(
        "reads from here: p50 {}  p90 {}  p99 {}  max {}  of {}",
        shown(reads.p50),
        shown(reads.p90),
        shown(reads.p99),
        shown(reads.max),
        reads.done
    );
    if reads.failed > 0 {
        text.push_str(&format!(", {} failed", reads.failed));
    }
    if let Some(waiting) = reads.waiting {
        text.push_str(&format!(", one waits for {}", duration(waiting)));
    }
    text
}

fn server_rows(picture: &Picture, id: &ServerId, server: &Server, columns: usize) -> Vec<Row> {
    let word = server.word.as_ref().filter(|word| picture.is_fresh(word));
    let line = server.line.as_ref();
    let state = match (line, word) {
        (Some(line), _) if line.alive && line.synced => "synced",
        (Some(line), _) if line.alive => "alive",
        (Some(_), Some(_)) => "not heard",
        (Some(line), None) if line.silent.is_none() => "not seen",
        (Some(_), None) => "lost",
        (None, Some(_)) => "answers",
        (None, None) => "silent",
    };
    let dash = || "-".to_owned();
    let silent = line.and_then(|line| line.silent).map(Duration::from);
    let round_trip = word.and_then(|word| word.round_trip);
    let micros_of = |time: Duration| micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    let incarnation =
        word.map(|word| word.said.incarnation).or(line.and_then(|line| line.incarnation));
    let texts = [
        id.to_string(),
        picture.role(server).to_owned(),
        state.to_owned(),
        silent.map_or_else(dash, duration),
        round_trip.map_or_else(dash, micros_of),
        word.map_or_else(dash, |word| word.said.operations.to_string()),
        picture.lag(server).map_or_else(dash, |lag| lag.to_string()),
        word.map_or_else(dash, |word| word.said.keys.to_string()),
        incarnation.map_or_else(dash, |incarnation| incarnation.to_string()),
    ];
    let look = match state {
        "synced" => Look::Good,
        "lost" | "silent" => Look::Bad,
        _ => Look::Plain,
    };
    let mut rows = vec![(look, cells(&texts, columns))];
    if let Some(transfer) = picture.transfer(server) {
        let rate = transfer.rate.map_or_else(String::new, |rate| format!(", {rate:.0} keys/s"));
        let left = transfer.remaining();
        let left = left.map_or_else(String::new, |left| {
            format!(", {} left", duration(Duration::from_secs_f64(left.min(1e9))))
        });
        let counts = format!("{} of {} keys", transfer.keys, transfer.of);
        rows.push((Look::Doubtful, format!("  {} {counts}{rate}{left}", bar(transfer.percent()))));
    }
    rows
}

/// Texts to the left, numbers to the right. A column that does not fit is left out with all behind
/// it: half a number is another number.
fn cells(texts: &[String; 9], columns: usize) -> String {
    let [id, role, state, pong, trip, operations, lag, keys, incarnation] = texts;
    let mut row = format!("{id:<8} {role:<16} {state:<9}");
    for cell in [
        format!(" {pong:>9}"),
        format!(" {trip:>10}"),
        format!(" {operations:>12}"),
        format!(" {lag:>8}"),
        format!(" {keys:>9}"),
        format!("  {incarnation:<16}"),
    ] {
        if width(&row) + width(&cell) > columns {
            break;
        }
        row.push_str(&cell);
    }
    row.trim_end().to_owned()
}

/// Eight heights, scaled to the highest; a blank where nothing is known.
fn sparkline(values: impl Iterator<Item = Option<f64>> + Clone) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.clone().flatten().fold(0.0, f64::max);
    let height = |value: f64| {
        let share = if highest > 0.0 { value / highest } else { 0.0 };
        HEIGHTS[((share * 7.0).round() as usize).min(7)]
    };
    values.map(|value| value.map_or(' ', height)).collect()
}

/// The beginning of a row that fits.
fn cut(row: &str, columns: usize) -> String {
    let mut used = 0;
    row.chars()
        .take_while(|c| {
            used += width(c.encode_utf8(&mut [0; 4]));
            used <= columns
        })
        .collect()
}

/// `<=250us`
pub(super) fn took(took: Took) -> String {
    match took {
        Took::Within(bound) => format!("<={}", micros(bound)),
        Took::Longer => "longer".to_owned(),
    }
}

/// `850us`, `1.2ms`, `3.4s`
pub(super) fn micros(micros: u64) -> String {
    duration(Duration::from_micros(micros))
}

/// With a unit that keeps it short.
pub(super) fn duration(time: Duration) -> String {
    let micros = time.as_micros();
    let seconds = time.as_secs();
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..10_000 => format!("{:.1}ms", time.as_secs_f64() * 1e3),
        10_000..1_000_000 => format!("{}ms", micros / 1_000),
        1_000_000..60_000_000 => format!("{:.1}s", time.as_secs_f64()),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::Rates;
    use super::super::picture::tests::sample;
    use super::*;

    #[test]
    fn the_screen_shows_view_servers_transfer_and_changes() {
        let rows = rows(&sample(), Duration::from_secs(1), 120);
        let text: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
        assert!(text[0].starts_with("view 1.6 active   primary s1   backup none   "), "{text:#?}");
        assert!(text[0].ends_with("every 1.0s   q leaves") && text[0].len() == 120, "{text:#?}");
        assert_eq!(rows[1], (Look::Doubtful, "waiting for s2 to receive the state".to_owned()));
        let load = "operations/s     2000  (1500 reads, 500 writes)          █";
        assert!(text[3].starts_with(load), "{text:#?}");
        let served =
            "at the primary:  reads p50 <=25us  p90 <=25us  p99 <=100us   writes p50 <=25us";
        assert!(text[4].starts_with(served), "{text:#?}");
        assert!(text[5].contains("p50 120us  p90 200us  p99 900us  max 1.5ms"), "{text:#?}");
        let joins = "  [########------------] 40% 400 of 1000 keys, 300 keys/s, 2.0s left";
        assert!(text.contains(&joins), "{text:#?}");
        let lost = rows.iter().find(|(_, row)| row.starts_with("s3 ")).unwrap();
        assert!(
            lost.0 == Look::Bad && lost.1.contains("lost") && lost.1.contains("7.0s"),
            "{lost:?}"
        );
        let change = text.last().unwrap();
        assert_eq!(*change, "   1m05s ago  1.6    active    s1 <- s2        s3 does not answer");
    }

    #[test]
    fn what_does_not_fit_a_narrow_window_is_broken_or_left_out_and_no_number_is_cut() {
        let mut picture = sample();
        for number in 0..60 {
            let reads = Some(f64::from(number) * 100.0);
            picture.rates.push_back(Rates { reads, writes: None });
        }
        for columns in [80, 85, 100, 200] {
            let rows = rows(&picture, Duration::from_secs(1), columns);
            let text: Vec<&str> = rows.iter().map(|(_, row)| row.as_str()).collect();
            assert!(text.iter().all(|row| width(row) <= columns), "{text:#?}");
            assert!(text[3].ends_with('█'), "the newest is shown: {text:#?}");
            let writes = text.iter().position(|row| row.contains("writes p50"));
            let reads = text.iter().position(|row| row.starts_with("at the primary:  reads p50"));
            assert_eq!(writes == reads, columns == 200, "{text:#?}");
            let titles = text.iter().find(|row| row.starts_with("server")).unwrap();
            let last = if columns < 88 {
                "lag"
            } else if columns < 106 {
                "keys"
            } else {
                "incarnation"
            };
            assert!(titles.ends_with(last), "{titles}");
        }
    }

    #[test]
    fn nothing_is_wider_than_the_window() {
        assert_eq!(cut("a\u{4e16}b", 3), "a\u{4e16}");
        assert_eq!(cut("a\u{4e16}b", 2), "a");
    }

    #[test]
    fn what_is_waited_for_is_broken_between_words() {
        let text = "waiting for s2; type reset";
        assert_eq!(wrapped(text, 15), ["waiting for s2;", "type reset"]);
        assert_eq!(wrapped(text, 26), [text]);
        assert_eq!(wrapped("unbreakable", 3), ["unbreakable"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn what_fills_the_window_is_not_cut_by_clearing_the_rest() {
        let screen = Screen { style: Style::PLAIN, kept: None };
        let rows = |count: usize| vec![(Look::Plain, "abcd".to_owned()); count];
        assert_eq!(screen.drawn(rows(1), 3, 2), "\x1b[H\x1b[Kabc\r\n\x1b[J");
        assert_eq!(screen.drawn(rows(3), 3, 2), "\x1b[H\x1b[Kabc\r\n\x1b[Kabc");
        std::mem::forget(screen);
    }

    #[test]
    fn times_are_short() {
        let shown = [850, 1_200, 45_000, 3_400_000, 65_000_000, 7_380_000_000].map(micros);
        assert_eq!(shown, ["850us", "1.2ms", "45ms", "3.4s", "1m05s", "2h03m"]);
    }

    #[test]
    fn a_sparkline_is_scaled_to_its_highest() {
        let line = sparkline([None, Some(0.0), Some(50.0), Some(100.0)].into_iter());
        assert_eq!(line, " ▁▅█");
        assert_eq!(sparkline([Some(0.0)].into_iter()), "▁");
    }
}
