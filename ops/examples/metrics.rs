//! Prints the reference page of the metrics: `docs/metrics.md` is its output.

fn main() {
    print!("{}", ops::metrics::reference());
}
