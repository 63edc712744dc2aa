//! How evenly the prototypes are used.

use crate::pages::chart::{Chart, Format, Legend, Reference, Series};
use crate::pages::drawing::Dash;
use crate::pages::theme::Ink;
use crate::text::{count, thousands};

/// exp of the entropy of a marginal: of K equal shares, K.
pub(super) fn perplexity(usage: &[f32]) -> f64 {
    let total: f64 = shares(usage).sum();
    let entropy: f64 =
        shares(usage).filter(|&p| p > 0.0).map(|p| -(p / total) * (p / total).ln()).sum();
    if total > 0.0 { entropy.exp() } else { 0.0 }
}

fn shares(usage: &[f32]) -> impl Iterator<Item = f64> {
    usage.iter().map(|&p| if p.is_finite() { f64::from(p).max(0.0) } else { 0.0 })
}

/// Bars, most used first, and what they come to.
pub(super) fn card(usage: &[f32]) -> String {
    let total: f64 = shares(usage).sum();
    if total <= 0.0 {
        return String::new();
    }
    let equal = total / usage.len() as f64;
    let mut sorted: Vec<f64> = shares(usage).map(|p| p / equal).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    // Bars of a pixel or less are drawn as their outline.
    let points: Vec<(f64, f64)> = if sorted.len() <= 150 {
        sorted.iter().enumerate().flat_map(|(i, &p)| [(i as f64, p), (i as f64 + 1.0, p)]).collect()
    } else {
        sorted.iter().enumerate().map(|(i, &p)| (i as f64 + 0.5, p)).collect()
    };
    let chart = Chart {
        title: "Share of each prototype (1 = equal share)".into(),
        x_label: "rank",
        series: vec![Series::filled("share", Ink::Series(0), &points)],
        references: vec![Reference {
            name: "equal".into(),
            value: 1.0,
            ink: Ink::Muted,
            dash: Dash::Dashed,
        }],
        format: Format::Plain,
        from_zero: true,
        least_span: 0.0,
        x: None,
        legend: Legend::None,
    };
    let num_rare = sorted.iter().filter(|&&p| p < 0.1).count();
    let rare = match num_rare {
        0 => "None gets less than a tenth of an equal share.".to_owned(),
        1 => "One gets less than a tenth of an equal share.".to_owned(),
        n => format!("{} get less than a tenth of an equal share.", count(n)),
    };
    format!(
        "<div class=\"card\">{}<p></p><p>In effect <strong>{}</strong> of {} prototypes are in use (perplexity of the marginal). {rare}</p></div>\n",
        chart.draw(560.0, 460.0).to_inline_svg(),
        thousands(&format!("{:.1}", perplexity(usage))),
        count(usage.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perplexity_counts_equal_shares() {
        assert!((perplexity(&[0.25; 4]) - 4.0).abs() < 1e-12);
        assert!((perplexity(&[0.5, 0.5, 0.0]) - 2.0).abs() < 1e-12);
        // H(1/2, 1/4, 1/4) = 1.5 bits, and a scale does not matter
        assert!((perplexity(&[2.0, 1.0, 1.0]) - 2_f64.powf(1.5)).abs() < 1e-9);
        assert_eq!(perplexity(&[0.0, f32::NAN]), 0.0);
    }

    #[test]
    fn the_card_states_perplexity_and_rare_prototypes() {
        let card = card(&[0.5, 0.499, 0.001, 0.0]);
        assert!(card.contains("<strong>2.0</strong> of 4 prototypes"), "{card}");
        assert!(card.contains("2 get less than a tenth"));
        assert_eq!(super::card(&[]), "");
    }
}
