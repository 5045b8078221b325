//! Pages that open offline: one HTML file with its style, tables, charts (SVG) and pictures (PNG) inside.

pub(crate) mod chart;

use anyhow::Result;
use base64::Engine;
use earl_model::files::encode_png;
use image::RgbImage;

/// The beginning of a page, up to its heading.
#[must_use]
pub(crate) fn head(title: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><link rel=icon href=\"data:,\"><title>{title}</title><style>\
body{{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}}\
figure{{margin:0 0 1.5rem;display:inline-block;vertical-align:top}}figcaption{{font-weight:600}}svg{{max-width:100%;height:auto}}\
table{{border-collapse:collapse;margin-bottom:1rem}}td,th{{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}}th:first-child,td:first-child{{text-align:left}}\
pre{{background:#f4f4f6;padding:1rem;overflow:auto}}img{{max-width:100%;image-rendering:pixelated}}\
.cards{{display:flex;flex-wrap:wrap;gap:1rem}}.card{{width:17.5rem}}.card p{{margin:.2rem 0;font-size:.85rem;line-height:1.3}}.card img{{width:4rem;height:4rem;object-fit:contain;background:#3c3c40;margin-right:.25rem}}\
.strip{{display:flex;gap:1rem;overflow-x:auto}}.strip figure{{flex:none;max-width:34rem}}.strip figcaption{{font-weight:400}}</style><h1>{title}</h1>\n"
    )
}

/// Text as it stands in HTML.
#[must_use]
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table of texts.
#[must_use]
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::from("<table><tr>");
    for cell in head {
        text += &format!("<th>{}", escape(cell));
    }
    for row in rows {
        text += "\n<tr>";
        for cell in row {
            text += &format!("<td>{}", escape(cell));
        }
    }
    text + "\n</table>\n"
}

/// A PNG file's bytes as a picture in the page.
#[must_use]
pub(crate) fn png_tag(png: &[u8], about: &str) -> String {
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    format!("<img alt=\"{0}\" title=\"{0}\" src=\"data:image/png;base64,{data}\">", escape(about))
}

/// A picture in the page.
///
/// # Errors
/// If it can't be encoded.
pub(crate) fn picture_tag(picture: &RgbImage, about: &str) -> Result<String> {
    Ok(png_tag(&encode_png(picture, None)?, about))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_can_not_become_markup() {
        let found = table(&["a"], &[vec!["<script>\"&\"</script>".into()]]);
        assert!(found.contains("<td>&lt;script&gt;&quot;&amp;&quot;&lt;/script&gt;"), "{found}");
        let tag = picture_tag(&RgbImage::new(1, 1), "\"onload=\"x").unwrap();
        assert!(tag.contains("alt=\"&quot;onload=&quot;x\""), "{tag}");
    }
}
