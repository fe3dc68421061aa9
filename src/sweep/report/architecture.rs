//! Networks as pictures, each once for all points that have it.

use super::html::escape;
use crate::cli::Setting;
use crate::picture;
use crate::sweep::point;
use crate::sweep::results::{Results, Sweep};

/// The pictures of the networks of the points with these numbers.
pub fn figures(results: &Results, shown: &[usize]) -> String {
    let mut networks: Vec<(Vec<Setting>, Vec<usize>)> = Vec::new();
    for &number in shown {
        let Some(point) = results.points.get(number) else { continue };
        let settings = point::settings(&results.sweep, point);
        match networks.iter_mut().find(|network| network.0 == settings) {
            Some((_, numbers)) => numbers.push(number),
            None => networks.push((settings, vec![number])),
        }
    }
    networks.iter().map(|(settings, numbers)| figure(results, settings, numbers)).collect()
}

fn figure(results: &Results, settings: &[Setting], numbers: &[usize]) -> String {
    let Some(point) = numbers.first().and_then(|&number| results.points.get(number)) else {
        return String::new();
    };
    let picture = match point::network(&results.sweep, point) {
        Ok(graph) => picture::svg(&graph),
        Err(illegal) => format!("<p>{}</p>\n", escape(&illegal.message)),
    };
    let points: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!(
        "<details class=\"choice architecture\" data-points=\"{}\">\n<summary>{}</summary>\n<div class=\"scroll\">{picture}</div>\n</details>\n",
        points.join(" "),
        escape(&title(&results.sweep, settings)),
    )
}

fn title(sweep: &Sweep, settings: &[Setting]) -> String {
    let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} with {}", sweep.spec.model, settings.join(", "))
}
