//! Shares of the rewards by epoch as a picture: one panel a group, one line a participant.

use std::fmt::Write;

use super::Course;

/// Pixels of a panel.
const WIDTH: f64 = 640.0;
/// Pixels of a panel.
const HEIGHT: f64 = 240.0;
/// Pixels around a panel; names stand on its right.
const MARGIN: f64 = 40.0;
/// Pixels for names.
const NAMES: f64 = 120.0;
/// Lines are told apart by these, then by dashes.
const COLOURS: [&str; 7] = ["#1b6ca8", "#c8553d", "#3c8d5a", "#8e5aa8", "#b8860b", "#555555", "#2ca6a4"];

/// The picture as SVG.
pub fn svg(groups: &[(&str, &[Course])]) -> String {
    let (width, height) = (WIDTH + 2.0 * MARGIN + NAMES, (HEIGHT + 2.0 * MARGIN) * groups.len() as f64);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (index, (title, courses)) in groups.iter().enumerate() {
        let top = MARGIN + index as f64 * (HEIGHT + 2.0 * MARGIN);
        // Writing to a String does not fail.
        let _ = panel(&mut text, title, courses, top);
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, title: &str, courses: &[Course], top: f64) -> std::fmt::Result {
    let epochs = courses.iter().map(|course| course.rewards.len()).max().unwrap_or(0);
    let total = |epoch: usize| courses.iter().filter_map(|course| course.rewards.get(epoch)).sum::<u64>();
    let share = |course: &Course, epoch: usize| course.rewards[epoch] as f64 / total(epoch).max(1) as f64;
    let shares =
        courses.iter().flat_map(|course| (0..course.rewards.len()).map(|epoch| share(course, epoch)));
    let most = shares.fold(0.01, f64::max);
    let x = |epoch: usize| MARGIN + WIDTH * epoch as f64 / epochs.saturating_sub(1).max(1) as f64;
    let y = |share: f64| top + HEIGHT * (1.0 - share / most);
    let (left, bottom, right) = (MARGIN, top + HEIGHT, MARGIN + WIDTH);
    writeln!(text, "<text x=\"{left}\" y=\"{}\">share of the {title}' rewards, by epoch</text>", top - 12.0)?;
    writeln!(
        text,
        "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#999\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:.2}</text><text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>\
         <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{epochs}</text>",
        left - 4.0,
        top + 4.0,
        most,
        left - 4.0,
        bottom + 14.0
    )?;
    for (index, course) in courses.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let dash = if index < COLOURS.len() { "" } else { " stroke-dasharray=\"5 3\"" };
        let points: Vec<String> = (0..course.rewards.len())
            .map(|epoch| format!("{:.1},{:.1}", x(epoch), y(share(course, epoch))))
            .collect();
        let name = top + 14.0 * (index as f64 + 1.0);
        writeln!(
            text,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"{dash}/>\
             <path d=\"M{} {}h18\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/><text x=\"{}\" y=\"{name}\">{}</text>",
            points.join(" "),
            right + 10.0,
            name - 4.0,
            right + 34.0,
            course.name
        )?;
    }
    Ok(())
}
