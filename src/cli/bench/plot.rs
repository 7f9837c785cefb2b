//! The plot of a run, as an SVG: latency by percentile for each kind of operation, and throughput
//! and latency over time, so that a stall is seen where it was and not only as a maximum.

use std::fmt::Write;

use super::load::Kind;
use super::tally::{Counted, Tally};

/// A short part of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Moment {
    /// Since the beginning of the run.
    end_ns: u64,
    per_second: f64,
    failed: u64,
    /// Of what was executed in this moment; none if nothing was.
    latency: Option<Percentiles>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Percentiles {
    p50_ns: u64,
    p99_ns: u64,
    most_ns: u64,
}

impl Moment {
    pub(super) fn of(end_ns: u64, span_ns: u64, counted: &Counted) -> Moment {
        let done = counted.done();
        let latency = (done > 0).then(|| Percentiles {
            p50_ns: counted.latency.value_at_percentile(50.0),
            p99_ns: counted.latency.value_at_percentile(99.0),
            most_ns: counted.latency.max(),
        });
        let per_second = done as f64 * 1e9 / span_ns.max(1) as f64;
        Moment { end_ns, per_second, failed: counted.failed(), latency }
    }
}

/// Where things lie, in the units of the picture.
const WIDTH: f64 = 900.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const PANEL: f64 = 230.0;
/// Above each panel, for its title and legend; and below the last one.
const GAP: f64 = 60.0;

/// Distinct also for most people who see colours differently.
const COLOURS: [&str; 5] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#555555"];

/// A way from a quantity to a place along an axis.
#[derive(Clone, Copy)]
enum Scale {
    Linear,
    Log,
}

struct Axis {
    scale: Scale,
    from: f64,
    to: f64,
    /// Where lines stand, and what is written there.
    marks: Vec<(f64, String)>,
}

impl Axis {
    /// The share of the axis below this value.
    fn place(&self, value: f64) -> f64 {
        let along = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
        };
        let (from, to) = (along(self.from), along(self.to));
        ((along(value) - from) / (to - from)).clamp(0.0, 1.0)
    }

    /// From 0 up to a round number not below `most`, in about five steps.
    fn linear(most: f64, write: impl Fn(f64) -> String) -> Axis {
        let rough = most.max(1e-9) / 5.0;
        let power = 10.0_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
        let count = (most / step).ceil().max(1.0);
        let marks = (0..=count as u64).map(|mark| mark as f64 * step);
        let marks = marks.map(|value| (value, write(value))).collect();
        Axis { scale: Scale::Linear, from: 0.0, to: count * step, marks }
    }

    /// Whole decades around latencies in nanoseconds.
    fn latency(least_ns: f64, most_ns: f64) -> Axis {
        let first = least_ns.max(1.0).log10().floor();
        let last = most_ns.max(1.0).log10().ceil().max(first + 1.0);
        let marks = (first as i32..=last as i32).map(|power| {
            let value = 10.0_f64.powi(power);
            (value, time_text(value))
        });
        let (from, to) = (10.0_f64.powf(first), 10.0_f64.powf(last));
        Axis { scale: Scale::Log, from, to, marks: marks.collect() }
    }

    /// Percentiles by their distance from 100 %, down to one operation of `done`. A value is
    /// `1 / (1 - share)`.
    fn percentiles(done: u64) -> Axis {
        let to = (done as f64).max(100.0);
        let marks = [
            (1.0, "0 %"),
            (2.0, "50 %"),
            (10.0, "90 %"),
            (100.0, "99 %"),
            (1e3, "99.9 %"),
            (1e4, "99.99 %"),
            (1e5, "99.999 %"),
            (1e6, "99.9999 %"),
            (1e7, "99.99999 %"),
        ];
        let marks = marks.into_iter().filter(|(value, _)| *value <= to);
        let marks = marks.map(|(value, text)| (value, text.to_owned())).collect();
        Axis { scale: Scale::Log, from: 1.0, to, marks }
    }
}

fn time_text(ns: f64) -> String {
    match ns {
        ns if ns >= 1e9 => format!("{} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{} \u{b5}s", ns / 1e3),
        ns => format!("{ns} ns"),
    }
}

fn count_text(count: f64) -> String {
    match count {
        count if count >= 1e6 => format!("{}M", count / 1e6),
        count if count >= 1e3 => format!("{}k", count / 1e3),
        count => format!("{count}"),
    }
}

/// A named line through points; a missing point interrupts it.
struct Line<'a> {
    name: &'a str,
    points: Vec<Option<(f64, f64)>>,
}

/// Adds a panel whose upper edge of the drawing lies at `top`.
fn panel(svg: &mut String, top: f64, title: &str, x: &Axis, y: &Axis, lines: &[Line<'_>]) {
    let across = |value: f64| LEFT + x.place(value) * (WIDTH - LEFT - RIGHT);
    let down = |value: f64| top + (1.0 - y.place(value)) * PANEL;
    let (right, bottom) = (WIDTH - RIGHT, top + PANEL);
    let mut add = |text: String| {
        svg.push_str(&text);
        svg.push('\n');
    };
    add(format!(r#"<text x="{LEFT}" y="{:.1}" class="title">{title}</text>"#, top - 12.0));
    for (value, text) in &y.marks {
        let at = down(*value);
        add(format!(r#"<path d="M{LEFT} {at:.1}H{right}" class="grid"/>"#));
        let (x, y) = (LEFT - 8.0, at + 4.0);
        add(format!(r#"<text x="{x}" y="{y:.1}" text-anchor="end">{text}</text>"#));
    }
    for (value, text) in &x.marks {
        let at = across(*value);
        add(format!(r#"<path d="M{at:.1} {top}V{bottom}" class="grid"/>"#));
        let y = bottom + 16.0;
        add(format!(r#"<text x="{at:.1}" y="{y}" text-anchor="middle">{text}</text>"#));
    }
    for (index, (line, colour)) in lines.iter().zip(COLOURS).enumerate() {
        let mut path = String::new();
        let mut is_drawing = false;
        for point in &line.points {
            if let Some((x, y)) = point {
                let letter = if is_drawing { 'L' } else { 'M' };
                let _ = write!(path, "{letter}{:.1} {:.1}", across(*x), down(*y));
                // A point alone shows as a dot.
                path.push_str(if is_drawing { "" } else { "h0" });
            }
            is_drawing = point.is_some();
        }
        add(format!(r#"<path d="{path}" class="line" stroke="{colour}"/>"#));
        let (x, y) = (right - 90.0 * (lines.len() - 1 - index) as f64, top - 12.0);
        let name = line.name;
        add(format!(r#"<text x="{x}" y="{y:.1}" text-anchor="end" fill="{colour}">{name}</text>"#));
    }
}

/// The whole picture. `headline` says what was run.
pub(super) fn svg(headline: &str, tally: &Tally, moments: &[Moment]) -> String {
    let height = 40.0 + 3.0 * (PANEL + GAP);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="11">
<style>.grid{{stroke:#ddd}}.line{{fill:none;stroke-width:1.6;stroke-linecap:round}}.title{{font-size:14px}}</style>
<rect width="100%" height="100%" fill="#fff"/>
<text x="{LEFT}" y="24">{}</text>
"##,
        headline.replace('&', "&amp;").replace('<', "&lt;"),
    );
    let top = |index: f64| 40.0 + GAP * 0.6 + index * (PANEL + GAP);
    by_percentile(&mut svg, top(0.0), tally);
    over_time(&mut svg, [top(1.0), top(2.0)], moments);
    svg.push_str("</svg>\n");
    svg
}

fn by_percentile(svg: &mut String, top: f64, tally: &Tally) {
    let kinds = Kind::ALL.into_iter().zip(&tally.kinds);
    let counted: Vec<(&str, &Counted)> = kinds
        .map(|(kind, counted)| (kind.word(), counted))
        .filter(|(_, counted)| counted.done() > 0)
        .collect();
    let x = Axis::percentiles(tally.all.done());
    let least = tally.all.latency.min().max(1) as f64;
    let y = Axis::latency(least, tally.all.latency.max() as f64);
    let lines: Vec<Line<'_>> = counted
        .into_iter()
        .map(|(name, counted)| {
            // Forty points a decade, up to the last operation.
            let decades = (counted.done() as f64).log10();
            let points = (0..=(decades * 40.0) as u64).map(|step| {
                let rest = 10.0_f64.powf(step as f64 / 40.0);
                let value = counted.latency.value_at_quantile(1.0 - 1.0 / rest);
                Some((rest, value as f64))
            });
            let last = Some((counted.done() as f64, counted.latency.max() as f64));
            Line { name, points: points.chain([last]).collect() }
        })
        .collect();
    panel(svg, top, "latency by percentile", &x, &y, &lines);
}

fn over_time(svg: &mut String, [rates, latencies]: [f64; 2], moments: &[Moment]) {
    let seconds = |moment: &Moment| moment.end_ns as f64 / 1e9;
    let most = |of: fn(&Moment) -> f64| moments.iter().map(of).fold(0.0, f64::max);
    let end = most(|moment| moment.end_ns as f64 / 1e9);
    let mut x = Axis::linear(end, |s| {
        format!("{s:.4}").trim_end_matches('0').trim_end_matches('.').to_owned() + " s"
    });
    // Time ends with the run, not at the next mark.
    x.marks.retain(|(mark, _)| *mark <= end);
    x.to = end.max(1e-3);
    let line = |name, of: fn(&Moment) -> Option<f64>| Line {
        name,
        points: moments.iter().map(|moment| of(moment).map(|y| (seconds(moment), y))).collect(),
    };
    let y = Axis::linear(most(|moment| moment.per_second.max(moment.failed as f64)), count_text);
    let mut lines = vec![line("done a second", |moment| Some(moment.per_second))];
    if moments.iter().any(|moment| moment.failed > 0) {
        lines.push(line("failed", |moment| Some(moment.failed as f64)));
    }
    panel(svg, rates, "operations, warm-up included", &x, &y, &lines);
    let known: Vec<Percentiles> = moments.iter().filter_map(|moment| moment.latency).collect();
    let least = known.iter().map(|at| at.p50_ns).min().unwrap_or(1_000);
    let most = known.iter().map(|at| at.most_ns).max().unwrap_or(1_000_000);
    let y = Axis::latency(least as f64, most as f64);
    let lines = [
        line("p50", |moment| moment.latency.map(|at| at.p50_ns as f64)),
        line("p99", |moment| moment.latency.map(|at| at.p99_ns as f64)),
        line("max", |moment| moment.latency.map(|at| at.most_ns as f64)),
    ];
    panel(svg, latencies, "latency over time, of each tenth of a second", &x, &y, &lines);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Outcome;

    fn tally() -> Tally {
        let mut tally = Tally::new(0);
        for at in 1..=2_000_u64 {
            let latency = if at == 1_000 { 90_000_000 } else { 200_000 };
            tally.add(Kind::Put, Outcome::Ok, at * 1_000_000, at * 1_000_000 + latency);
        }
        tally
    }

    #[test]
    fn a_plot_has_three_panels_and_a_line_for_each_kind_that_was_asked() {
        let mut tally = tally();
        let recent = tally.take_recent();
        let nothing = Counted::default();
        let second = 1_000_000_000;
        let moments = [
            Moment::of(second, second, &recent),
            Moment::of(2 * second, second, &nothing),
            Moment::of(3 * second, second, &recent),
        ];
        let svg = svg("8 clients < 9", &tally, &moments);
        assert_eq!(svg.matches(r#"class="title""#).count(), 3);
        assert!(svg.contains("8 clients &lt; 9") && svg.ends_with("</svg>\n"), "{svg}");
        assert!(svg.contains(">put<") && !svg.contains(">get<"), "{svg}");
        assert!(svg.contains("99.9 %") && svg.contains("100 ms"), "{svg}");
        // A moment without an answer interrupts the lines of latencies.
        let lines = svg.lines().filter(|line| line.contains(r#"class="line""#));
        let broken = lines.filter(|line| line.matches('M').count() == 2).count();
        assert_eq!(broken, 3, "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn a_run_in_which_nothing_happened_can_be_plotted() {
        let svg = svg("nothing", &Tally::new(0), &[]);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let axis = Axis::linear(43_210.0, count_text);
        assert_eq!((axis.to, axis.marks[1].1.as_str()), (50_000.0, "10k"));
        let axis = Axis::latency(180_000.0, 90_000_000.0);
        let marks: Vec<&str> = axis.marks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(marks, ["100 \u{b5}s", "1 ms", "10 ms", "100 ms"]);
        assert!((axis.place(1e6) - 1.0 / 3.0).abs() < 1e-9);
    }
}
