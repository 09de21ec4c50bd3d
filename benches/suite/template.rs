//! The worst templates: each goes over all that its payload has, again and again, until its rendering has looked at as
//! much as one may.
//!
//! What a rendering can cost the processor at most. Such a delivery fails without an attempt.

use crate::{
    Result,
    arguments::Form,
    daemon::{Daemon, Home, endpoint, secret},
    producer,
    report::Figures,
};

/// Words in the payload's list, and bytes of its text: of few words and much text, and the other way round.
const PAYLOADS: [(&str, usize, usize); 2] = [("long text", 300, 900_000), ("many words", 20_000, 10)];
const CASES: [(&str, &str); 8] = [
    ("sort", "{{ data.l | sort | first }}"),
    ("max", "{{ data.l | max }}"),
    ("in", "{% if 'no' in data_text %}{% endif %}"),
    ("tojson", "{{ data | tojson | length }}"),
    ("reverse", "{{ data_text | reverse | first }}"),
    ("list of a text", "{{ data_text | list | first }}"),
    ("split", "{{ data_text | split('y') | first }}"),
    ("replace", "{{ data_text | replace('y', 'z') | first }}"),
];

/// Runs the benchmark.
pub(crate) fn run(form: Form) -> Result<Figures> {
    let events: usize = form.pick(1, 5);
    let mut figures =
        Figures::new("template", format!("{events} events for each; CPU of the daemon for each"));
    let home = Home::new(&configuration())?;
    let daemon = Daemon::start(&home)?;
    for (payload, words, length) in PAYLOADS {
        for (index, (case, _)) in CASES.iter().enumerate() {
            let before = daemon.usage()?;
            producer::stream(&daemon.socket(), &event(index, words, length), events)?;
            daemon.settled()?;
            let usage = daemon.usage()?.since(&before);
            figures.add(&format!("{payload}: {case}"), usage.cpu.seconds() * 1e3 / events as f64, "ms");
        }
    }
    if daemon.get("/v1/status")?["since_start"]["attempts"] != 0 {
        return Err("a rendering came to its end: it is not among the worst".into());
    }
    daemon.stop()?;
    Ok(figures)
}

/// An endpoint and a profile for each; the port is never used.
fn configuration() -> String {
    let one = |(index, (_, body)): (usize, &(&str, &str))| {
        let keys = format!("secret = \"{}\"\nprofile = \"case-{index}\"", secret());
        let template =
            format!("{{% for a in data.l %}}{{% for b in data.l %}}{body}{{% endfor %}}{{% endfor %}}");
        let profile =
            format!("[profiles.case-{index}.body]\nformat = \"template\"\ntemplate = '''{template}'''\n");
        endpoint(&format!("case-{index}"), 1, &format!("bench.case{index}"), &keys) + &profile
    };
    CASES.iter().enumerate().map(one).collect()
}

fn event(index: usize, words: usize, length: usize) -> String {
    let words: Vec<_> = (0..words).map(|n| format!("\"w{n}\"")).collect();
    let (words, text) = (words.join(","), "y".repeat(length));
    format!(r#"{{"type":"bench.case{index}","data":{{"l":[{words}],"long":"{text}"}}}}"#)
}
