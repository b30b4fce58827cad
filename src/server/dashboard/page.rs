//! The page as a whole: what runs, the sums, the feed as it is at load. It is complete without a script; the script only
//! puts in what comes later, in pieces that [`card`](super::card) and [`figures`] wrote.

use super::card::{card, clock, exact};
use super::html::Html;
use crate::feed::words::{grouped, money, percent, permille, uptime};
use crate::feed::{GatewayView, Money, Overview, State, TotalsView, YardstickView};
use crate::units::Usd;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
    <title>tokenbroker</title><link rel=\"icon\" href=\"/assets/icon.svg\" type=\"image/svg+xml\">\
    <link rel=\"stylesheet\" href=\"/assets/page.css\"><script src=\"/assets/page.js\" defer></script></head>";

const MARK: &str = "<svg class=\"logo\" viewBox=\"0 0 32 32\" aria-hidden=\"true\" focusable=\"false\">\
    <rect class=\"dim\" x=\"4\" y=\"5\" width=\"24\" height=\"5\" rx=\"2.5\"/><rect class=\"dim\" x=\"4\" y=\"13.5\" width=\"17\" height=\"5\" rx=\"2.5\"/>\
    <rect class=\"lit\" x=\"4\" y=\"22\" width=\"8\" height=\"5\" rx=\"2.5\"/></svg>";

/// How many backends are listed.
const MOST_BACKENDS: usize = 12;

/// The whole document. `at` is when it was made (RFC 3339, UTC).
pub(super) fn document(overview: &Overview, at: &str) -> String {
    let gateway = &overview.gateway;
    let mut html = Html::default();
    html.raw(HEAD).raw("<body data-sequence=\"").text(&overview.sequence.to_string());
    html.around("\" data-run=\"", &gateway.started, "\"><a class=\"skip\" href=\"#feed\">To the requests</a>");
    if gateway.sandbox {
        html.raw("<aside class=\"sandbox\" aria-label=\"Sandbox\"><p><strong>Sandbox: pretend providers.</strong> ");
        html.raw("They run on this machine, no request leaves it, and every price is invented. The gateway is the real one.</p></aside>");
    }
    header(&mut html, gateway, at);
    html.raw("<main>").append(&figures(overview)).raw("<div class=\"columns\">").append(&backends(overview));
    html.raw("<section class=\"requests\" aria-labelledby=\"requests\"><div class=\"title\"><h2 id=\"requests\">Requests</h2>");
    html.raw("<p class=\"scale\">Newest first. Bars: expected cost, linear from zero to the dearest shown.</p>");
    html.raw("<button type=\"button\" id=\"pause\" hidden aria-pressed=\"false\">Pause</button></div>");
    empty(&mut html, overview);
    html.raw("<p id=\"missed\" hidden></p><ol id=\"feed\" class=\"feed\" reversed tabindex=\"-1\">");
    let baseline = gateway.baseline.is_some();
    overview.entries.iter().for_each(|entry| {
        html.append(&card(entry, baseline));
    });
    html.raw("</ol></section></div></main>");
    footer(&mut html, gateway);
    html.raw("<p class=\"hidden\" aria-live=\"polite\" id=\"said\"></p></body></html>");
    html.into_string()
}

fn header(html: &mut Html, gateway: &GatewayView, at: &str) {
    html.raw("<header class=\"top\"><div class=\"brand\">").raw(MARK).raw("<h1>tokenbroker</h1>");
    html.raw("<p id=\"live\" class=\"live\" role=\"status\"><span>as of <time datetime=\"").text(at);
    html.around("\">", &clock(at), " UTC</time>; reload for newer</span></p></div><dl class=\"facts\">");
    html.around("<div><dt>Table</dt><dd>", &gateway.table, "</dd></div>");
    html.raw("<div><dt>Providers</dt><dd>").text(&gateway.providers_on.to_string()).raw(" on, ");
    html.text(&gateway.providers_off.to_string()).raw(" off</dd></div>");
    html.around("<div><dt>API</dt><dd>", &gateway.api, "/v1</dd></div>");
    html.raw("<div><dt>Metrics</dt><dd><a href=\"/metrics\">").text(&gateway.operations).raw("/metrics</a></dd></div>");
    html.raw("<div><dt>Up</dt><dd>").text(&uptime(gateway.uptime_seconds));
    html.raw(" <span class=\"quiet\">since <time datetime=\"").text(&gateway.started);
    html.around("\">", &clock(&gateway.started), " UTC</time></span></dd></div></dl></header>");
}

fn footer(html: &mut Html, gateway: &GatewayView) {
    html.around(
        "<footer><p>tokenbroker ",
        &gateway.version,
        ". Sums are since the start of this process; the books keep everything. ",
    );
    html.raw("The same in a terminal: <code>tokenbroker top --url ").text(&gateway.operations);
    html.raw("</code>; for scripts: <a href=\"/feed?once\">/feed?once</a>.</p></footer>");
}

/// How to send a first request.
fn empty(html: &mut Html, overview: &Overview) {
    let gateway = &overview.gateway;
    html.raw("<div id=\"empty\" class=\"empty\"");
    html.raw(if overview.entries.is_empty() { ">" } else { " hidden>" });
    html.raw("<h3>No request yet</h3><p>Send the first one; it appears here at once.</p><pre tabindex=\"0\" aria-label=\"A first request\"><code>curl ");
    html.text(&gateway.api).raw("/v1/chat/completions \\\n  -H &#39;content-type: application/json&#39; \\\n");
    if gateway.keyed {
        html.raw("  -H &#39;authorization: Bearer YOUR_GATEWAY_KEY&#39; \\\n");
    }
    html.raw("  -d &#39;{&quot;model&quot;: &quot;auto&quot;, &quot;messages&quot;: [{&quot;role&quot;: &quot;user&quot;, &quot;content&quot;: &quot;Say hello.&quot;}]}&#39;</code></pre></div>");
}

/// The sums: a piece that is replaced as a whole.
pub(super) fn figures(overview: &Overview) -> Html {
    let Overview { gateway, totals, .. } = overview;
    let mut html = Html::default();
    html.raw("<section id=\"figures\" class=\"figures\" aria-label=\"Since the start\">");
    savings(&mut html, gateway, totals);
    html.raw("<div class=\"tile\"><h2>Spent</h2><p class=\"figure\">");
    exact(&mut html, totals.spent_usd).raw("</p><p class=\"note\">all attempts, since start</p>");
    average(&mut html, totals);
    html.raw("</div>");
    html.raw("<div class=\"tile\"><h2>Requests</h2><p class=\"figure\">").text(&grouped(totals.requests));
    html.raw("</p><p class=\"note\">").text(&grouped(totals.answered)).raw(" answered");
    for (count, what) in [(totals.open, " under way"), (not_answered(totals), " without"), (totals.refused, " refused")] {
        if count > 0 {
            html.raw(", ").text(&grouped(count)).raw(what);
        }
    }
    html.raw("</p></div><div class=\"tile\"><h2>Failovers</h2><p class=\"figure\">").text(&grouped(totals.failovers));
    html.raw("</p><p class=\"note\">moved on before the first byte</p></div>");
    html.raw("</section>");
    html
}

/// What a request that has ended cost on average.
fn average(html: &mut Html, totals: &TotalsView) {
    let ended = i128::from(totals.requests - totals.open);
    if let Some(each) = totals.spent_usd.0.pico().checked_div(ended) {
        html.raw("<p class=\"note\">");
        exact(html, Money(Usd::from_pico(each))).raw(" a request</p>");
    }
}

fn not_answered(totals: &TotalsView) -> u64 {
    totals.requests.saturating_sub(totals.answered + totals.open)
}

/// The comparison, and two bars that show it.
fn savings(html: &mut Html, gateway: &GatewayView, totals: &TotalsView) {
    let (against, yardstick) = match &gateway.baseline {
        Some(baseline) => (baseline.as_str(), &totals.baseline),
        None => ("the dearest adequate backend each time", &totals.dearest),
    };
    let YardstickView { elsewhere_usd, spent_usd, saved_usd } = yardstick;
    let share = permille(saved_usd.0, elsewhere_usd.0);
    html.raw("<div class=\"tile hero\"><h2>Saved</h2><p class=\"figure\">");
    html.text(&share.map_or_else(|| "–".to_owned(), percent)).raw(" <span class=\"amount\">");
    exact(html, *saved_usd).raw("</span></p><dl class=\"against\">");
    html.raw("<div><dt>Paid</dt><dd class=\"bar paid\">");
    bar(html, spent_usd.0, elsewhere_usd.0);
    html.raw("</dd><dd class=\"cost\">");
    exact(html, *spent_usd).around("</dd></div><div><dt><bdi>", against, "</bdi></dt><dd class=\"bar\">");
    bar(html, elsewhere_usd.0, elsewhere_usd.0);
    html.raw("</dd><dd class=\"cost\">");
    exact(html, *elsewhere_usd).raw("</dd></div></dl><p class=\"note\">answered requests, same tokens, since start</p></div>");
}

fn bar(html: &mut Html, part: Usd, whole: Usd) {
    let share = permille(part, whole).unwrap_or(0).clamp(0, 1000);
    let share = if part > Usd::ZERO { share.max(4) } else { share };
    html.raw("<svg viewBox=\"0 0 1000 8\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\"><rect class=\"track\" width=\"1000\" height=\"8\"/>");
    html.around("<rect class=\"fill\" width=\"", &share.to_string(), "\" height=\"8\"/></svg>");
}

/// Who answered how often and for how much: a piece that is replaced as a whole.
pub(super) fn backends(overview: &Overview) -> Html {
    let Overview { backends, totals, .. } = overview;
    let mut html = Html::default();
    html.raw("<aside id=\"backends\" class=\"backends\" aria-labelledby=\"by-backend\"><h2 id=\"by-backend\">By backend</h2>");
    if backends.is_empty() {
        html.raw("<p class=\"note\">Nobody was asked yet.</p>");
    }
    html.raw("<ol>");
    for backend in backends.iter().take(MOST_BACKENDS) {
        html.around("<li><p><bdi>", &backend.backend, "</bdi></p>");
        html.raw("<p class=\"bar\">");
        bar(&mut html, backend.spent_usd.0, totals.spent_usd.0);
        html.raw("</p><p class=\"row note\"><span>").text(&grouped(backend.answered)).raw(" answered");
        if backend.failed > 0 {
            html.raw(", ").text(&grouped(backend.failed)).raw(" failed");
        }
        html.raw("</span><span class=\"spent\">");
        exact(&mut html, backend.spent_usd).raw("</span></p></li>");
    }
    html.raw("</ol>");
    if backends.len() > MOST_BACKENDS {
        html.around("<p class=\"note\">and ", &(backends.len() - MOST_BACKENDS).to_string(), " more with less</p>");
    }
    html.raw("</aside>");
    html
}

/// One sentence for whoever listens instead of looking.
pub(super) fn spoken(overview: &Overview) -> String {
    let Overview { totals, gateway, entries, .. } = overview;
    let yardstick = if gateway.baseline.is_some() { &totals.baseline } else { &totals.dearest };
    let share = permille(yardstick.saved_usd.0, yardstick.elsewhere_usd.0)
        .map_or_else(String::new, |share| format!(", {} saved", percent(share)));
    let last = entries.iter().find(|entry| entry.state == State::Answered).and_then(|entry| entry.answered_by.as_deref());
    let last = last.map_or_else(String::new, |backend| format!("; last answered by {backend}"));
    format!("{} requests, {} spent{share}{last}", grouped(totals.requests), money(totals.spent_usd.0))
}
