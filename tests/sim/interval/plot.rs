//! Draws the runs as one SVG: a column for each capacity, a row for each way to answer, and below
//! them the interval that was answered.

use std::fmt::Write;

use crate::restart::{Answers, BIN_SECONDS, Restart, Second, rates};

/// One run to draw.
pub(crate) struct Panel {
    pub title: &'static str,
    pub restart: Restart,
    pub seconds: Vec<Second>,
}

/// The whole picture. Panels come row by row, two in a row; the last row gets the interval below it.
pub(crate) fn draw(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let height = TOP + rows as f64 * ROW + ROW_INTERVAL + BOTTOM;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    legend(&mut svg);
    for (number, panel) in panels.iter().enumerate() {
        let left = LEFT + (number % COLUMNS) as f64 * COLUMN;
        let top = TOP + (number / COLUMNS) as f64 * ROW;
        let frame = Frame { left, top, height: ROW - GAP, restart: &panel.restart };
        if number < COLUMNS {
            heading(&mut svg, &frame);
        }
        announces(&mut svg, &frame, panel);
        if panel.restart.answers == Answers::Controlled {
            let frame = Frame { top: TOP + rows as f64 * ROW, height: ROW_INTERVAL - GAP, ..frame };
            interval(&mut svg, &frame, panel);
        }
    }
    let middle = LEFT + (COLUMNS as f64 * COLUMN - COLUMN_GAP) / 2.0;
    text(&mut svg, middle, height - 10.0, "middle", "minutes since the restart");
    svg.push_str("</svg>\n");
    svg
}

/// Where a panel stands, and its scale of time.
struct Frame<'a> {
    left: f64,
    top: f64,
    height: f64,
    restart: &'a Restart,
}

impl Frame<'_> {
    /// `at` in seconds since the tracker went away.
    fn x(&self, at: f64) -> f64 {
        let span = self.restart.downtime + self.restart.intervals * self.restart.policy.base.0;
        self.left + at / f64::from(span) * (COLUMN - COLUMN_GAP)
    }

    /// `share` of the panel's height, from below.
    fn y(&self, share: f64) -> f64 {
        self.top + self.height * (1.0 - share.clamp(0.0, 1.0))
    }

    fn right(&self) -> f64 {
        self.left + COLUMN - COLUMN_GAP
    }
}

/// What the lines and the field mean.
fn legend(svg: &mut String) {
    let y = 22.0;
    let mut x = LEFT;
    for (colour, dashes, label) in [
        ("#1d4ed8", "", "even rate"),
        ("#c2410c", "5 3", "what the tracker can answer"),
        ("#cfcfcf", "2 3", "an interval later"),
    ] {
        line(svg, (x, y - 4.0), (x + 26.0, y - 4.0), colour, dashes);
        text(svg, x + 32.0, y, "start", label);
        x += 60.0 + label.len() as f64 * 6.4;
    }
    for (colour, label) in [("#f0e9e0", "the tracker is away"), (DEAF, "go by their own time")] {
        writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"26\" height=\"12\" fill=\"{colour}\"/>",
            y - 10.0
        )
        .expect("a string takes everything");
        text(svg, x + 32.0, y, "start", label);
        x += 60.0 + label.len() as f64 * 6.4;
    }
}

fn heading(svg: &mut String, frame: &Frame<'_>) {
    let restart = frame.restart;
    let label =
        format!("answers up to {}/s, {:.2} × the even rate", restart.capacity(), restart.capacity);
    let middle = (frame.left + frame.right()) / 2.0;
    writeln!(
        svg,
        "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"14\" \
         font-weight=\"600\">{label}</text>",
        TOP - 28.0
    )
    .expect("a string takes everything");
}

/// The rate of announces over time, with the even rate and the capacity.
fn announces(svg: &mut String, frame: &Frame<'_>, panel: &Panel) {
    backdrop(svg, frame);
    for (rate, label) in [(0.0, "0"), (10_000.0, "10k"), (20_000.0, "20k")] {
        let y = frame.y(rate / RATE_MAX);
        line(svg, (frame.left, y), (frame.right(), y), "#e4e4e4", "");
        text(svg, frame.left - 6.0, y + 4.0, "end", label);
    }
    let colour = if panel.restart.answers == Answers::Controlled { "#2a7f62" } else { "#8a8f98" };
    field(svg, frame, &rates(&panel.seconds, |second| second.offered), colour, 0.6);
    field(svg, frame, &rates(&panel.seconds, |second| second.deaf), DEAF, 0.8);
    let even = frame.y(panel.restart.mean() / RATE_MAX);
    line(svg, (frame.left, even), (frame.right(), even), "#1d4ed8", "");
    let capacity = frame.y(f64::from(panel.restart.capacity()) / RATE_MAX);
    line(svg, (frame.left, capacity), (frame.right(), capacity), "#c2410c", "5 3");
    title(svg, frame, &format!("{}: announces a second", panel.title));
}

/// What is below a rate.
fn field(svg: &mut String, frame: &Frame<'_>, rates: &[f64], colour: &str, opacity: f64) {
    let mut path = format!("M{:.1} {:.1}", frame.left, frame.y(0.0));
    for (number, rate) in rates.iter().enumerate() {
        let (from, to) = (number * BIN_SECONDS, (number + 1) * BIN_SECONDS);
        let y = frame.y(rate / RATE_MAX);
        write!(path, "L{:.1} {y:.1}L{:.1} {y:.1}", frame.x(from as f64), frame.x(to as f64))
            .expect("a string takes everything");
    }
    write!(path, "L{:.1} {:.1}Z", frame.right(), frame.y(0.0)).expect("a string takes everything");
    writeln!(svg, "<path d=\"{path}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>")
        .expect("a string takes everything");
}

/// The interval that was answered, in minutes.
fn interval(svg: &mut String, frame: &Frame<'_>, panel: &Panel) {
    backdrop(svg, frame);
    for minutes in [0, 30, 60] {
        let y = frame.y(f64::from(minutes) / MINUTES_MAX);
        line(svg, (frame.left, y), (frame.right(), y), "#e4e4e4", "");
        text(svg, frame.left - 6.0, y + 4.0, "end", &format!("{minutes}"));
    }
    let mut path = String::new();
    for (at, second) in panel.seconds.iter().enumerate().step_by(BIN_SECONDS) {
        let y = frame.y(f64::from(second.interval) / 60.0 / MINUTES_MAX);
        let command = if path.is_empty() { 'M' } else { 'L' };
        write!(path, "{command}{:.1} {y:.1}", frame.x(at as f64))
            .expect("a string takes everything");
    }
    writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"#2a7f62\" stroke-width=\"2\"/>")
        .expect("a string takes everything");
    title(svg, frame, &format!("{}: interval, in minutes", panel.title));
    for number in 0..=panel.restart.intervals {
        let minutes = number * panel.restart.policy.base.0 / 60;
        let x = frame.x(f64::from(panel.restart.downtime + minutes * 60));
        text(svg, x, frame.y(0.0) + 16.0, "middle", &minutes.to_string());
    }
}

/// What a panel shows, above it.
fn title(svg: &mut String, frame: &Frame<'_>, label: &str) {
    let (x, y) = (frame.left, frame.top - 6.0);
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" font-weight=\"600\">{label}</text>")
        .expect("a string takes everything");
}

/// The outage as a grey field, and where each interval begins.
fn backdrop(svg: &mut String, frame: &Frame<'_>) {
    let restart = frame.x(f64::from(frame.restart.downtime));
    writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#f0e9e0\"/>",
        frame.left,
        frame.top,
        restart - frame.left,
        frame.height
    )
    .expect("a string takes everything");
    for number in 0..=frame.restart.intervals {
        let at = frame.restart.downtime + number * frame.restart.policy.base.0;
        let x = frame.x(f64::from(at));
        line(svg, (x, frame.top), (x, frame.y(0.0)), "#cfcfcf", "2 3");
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dashes: &str) {
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-dasharray=\"{dashes}\"/>",
        from.0, from.1, to.0, to.1
    )
    .expect("a string takes everything");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, label: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{label}</text>")
        .expect("a string takes everything");
}

const COLUMNS: usize = 2;
const WIDTH: f64 = 1000.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 86.0;
const COLUMN: f64 = 484.0;
const COLUMN_GAP: f64 = 44.0;
const ROW: f64 = 178.0;
const ROW_INTERVAL: f64 = 140.0;
const GAP: f64 = 36.0;
const BOTTOM: f64 = 24.0;

/// Clients that no interval moves.
const DEAF: &str = "#b45309";

/// Top of the scales.
const RATE_MAX: f64 = 21_000.0;
const MINUTES_MAX: f64 = 66.0;
