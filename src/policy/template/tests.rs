use bytes::Bytes;

use super::{super::facts::sample, *};

fn compile(source: &str) -> Result<BodyTemplate, TemplateError> {
    let data = Bytes::from_static(b"{}");
    BodyTemplate::compile(source, &sample::facts(&data))
}

fn render_with(source: &str, data: &[u8]) -> Result<String, RenderError> {
    let template = compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    let data = Bytes::copy_from_slice(data);
    template.render(&sample::facts(&data)).map(|body| String::from_utf8(body).expect("UTF-8"))
}

fn render(source: &str) -> String {
    render_with(source, &sample::data()).unwrap_or_else(|error| panic!("{source}: {error}"))
}

/// Runs `test` on the stack of one of the daemon's threads.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(test);
    thread.expect("a thread").join().expect("the test passes");
}

#[test]
fn every_variable() {
    let data = String::from_utf8(sample::data().to_vec()).expect("UTF-8");
    for (source, text) in [
        ("{{ id }}", "evt_1"),
        ("{{ type | tojson }}", r#""job.completed""#),
        ("{{ account }}", "default"),
        ("{{ time | tojson }}", r#""2024-02-28T16:15:42.007Z""#),
        ("{{ time_unix }} {{ time_ms }}", "1709136942 1709136942007"),
        ("{{ data.id }} {{ data['n'] }} {{ data.list[2] }}", "job_1 1.5 3"),
        ("{{ data | tojson }}", r#"{"id":"job_1","list":[1,2,3],"n":1.5,"name":"a<b>\"&'"}"#),
        ("{{ data_json }}", &data),
        ("{{ data_text }}", &data),
        ("{{ delivery_id }} {{ endpoint_id }}", "dlv_1 ep_1"),
        ("{{ producer_id }}", "order-7"),
        ("{{ content_type }}", "application/json"),
    ] {
        assert_eq!(render(source), text, "{source}");
    }
    for name in VARIABLES {
        compile(&format!("{{{{ {name} }}}}")).expect("every variable is there");
    }
}

#[test]
fn payloads_that_are_no_json() {
    let render = |source: &str, data: &'static [u8], content_type: &str| {
        let template = compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
        let (data, content_type) = (Bytes::from_static(data), content_type.parse().expect("a content type"));
        let facts = Facts { content_type: Some(&content_type), ..sample::facts(&data) };
        template.render(&facts).map(|body| String::from_utf8(body).expect("UTF-8")).map_err(|error| error.why)
    };
    let either =
        "{% if data_json %}{{ data_json }}{% else %}{{ data_text | default('?') | tojson }}{% endif %}";
    for (source, data, content_type, made) in [
        ("{{ data_json }} {{ data.n }}", &b"{\"n\": 1}"[..], "application/geo+json", Ok("{\"n\": 1} 1")),
        ("{{ data_text | tojson }} {{ content_type }}", b"a,\"b", "text/csv", Ok("\"a,\\\"b\" text/csv")),
        (either, b"a,b", "text/csv", Ok("\"a,b\"")),
        (either, b"\xff", "application/pdf", Ok("\"?\"")),
        ("{{ data | default('none') }}", b"1", "text/plain", Ok("none")),
        // What is no JSON is not taken for it, even if it could be.
        ("{{ data_json }}", b"1", "text/plain", Err(RenderProblem::Undefined)),
        ("{{ data }}", b"1", "text/plain", Err(RenderProblem::Undefined)),
        ("{{ data_text }}", b"\xff", "text/plain", Err(RenderProblem::Undefined)),
    ] {
        assert_eq!(render(source, data, content_type), made.map(str::to_owned), "{source} {content_type}");
    }
}

#[test]
fn the_language() {
    for (source, text) in [
        ("", ""),
        ("{\"a\": {}}", "{\"a\": {}}"),
        ("{# {{ nothing }} #}a", "a"),
        ("{% raw %}{{ x }}{% endraw %}{{ id }}", "{{ x }}evt_1"),
        ("{%- if data.n > 1 -%} yes {%- elif id %}no{% else %}no{%- endif -%}", "yes"),
        ("{% for n in data.list %}{{ n }}{% if not loop.last %},{% endif %}{% endfor %}", "1,2,3"),
        ("{% for k, v in data.x | default({}) | items %}{{ k }}{% else %}none{% endfor %}", "none"),
        ("{% for x in data.missing | default([]) %}{{ x }}{% endfor %}.", "."),
        ("{{ 'a' if data.missing else 'b' }}", "b"),
        ("{{ data.missing | default('-') }}", "-"),
        ("{{ (type ~ ':' ~ id) | upper | tojson }}", r#""JOB.COMPLETED:EVT_1""#),
        ("{{ {'a': [1, {'b': none}]} | tojson }}", r#"{"a":[1,{"b":null}]}"#),
        ("{{ '}}' }}{{ \"%}\\\"\" }}", "}}%}\""),
        ("{{ data.list | join('-') }} {{ data.list | sum }}", "1-2-3 6"),
        ("{{ data.name | replace('<', '&lt;') | length }}", "10"),
        ("{{ data.list | select('odd') | list | tojson }}", "[1,3]"),
        ("{{ true }} {{ none }} {{ 1.0 }} {{ [1, none, 'a'] }}", r#"true null 1.0 [1,null,"a"]"#),
        ("{{ 'x' ~ (true | string) }} {{ [true, 'a', [none]] | join(' ') }}", "xtrue true a [null]"),
        ("[{{ 'a' if false }}]", "[]"),
        ("{{ [] | sum }} {{ [1, -3] | sum }} {{ [1, 0.5, 2] | sum }}", "0 -2 3.5"),
        ("{{ data.name }}", "a<b>\"&'"),
        ("{{ data.id is string and data.list is not mapping }}", "true"),
        ("{{ data_text | tojson | length > data_json | length }}", "true"),
        ("{{ type[:3] }}{% for x in data.list[1:] %} {{ x }}{% endfor %}", "job 2 3"),
    ] {
        assert_eq!(render(source), text, "{source}");
    }
}

#[test]
fn numbers_too_long_for_data_are_whole_in_data_json() {
    let data = br#"{"n": 12345678901234567890123456789, "f": 1.10}"#;
    assert_eq!(render_with("{{ data_json }}", data).as_deref().map(str::as_bytes), Ok(&data[..]));
    let rounded = render_with("{{ data | tojson }}", data).expect("rendered");
    assert!(!rounded.contains("12345678901234567890123456789"), "{rounded}");
    serde_json::from_str::<serde_json::Value>(&rounded).expect("JSON all the same");
    let max =
        render_with("{{ data.n }} {{ data.i }}", br#"{"n":18446744073709551615,"i":-9223372036854775808}"#);
    assert_eq!(max.as_deref(), Ok("18446744073709551615 -9223372036854775808"));
}

#[test]
fn numbers_come_out_as_they_went_in() {
    for number in ["0.010533735663047241", "7.385903388887613", "-1.7976931348623157e+308", "5e-324", "0.1"] {
        let data = format!(r#"{{"n":{number}}}"#);
        assert_eq!(render_with("{{ data | tojson }}", data.as_bytes()).as_deref(), Ok(&*data));
    }
}

#[test]
fn a_payload_is_parsed_only_where_it_is_named() {
    assert_eq!(render_with("[{{ data_json }}]", b"not JSON").as_deref(), Ok("[not JSON]"));
    let error = render_with("{{ data }}", b"not JSON").expect_err("not JSON");
    assert_eq!(error.why, RenderProblem::NotJson);
    let deep = "[".repeat(200_000);
    on_a_small_stack(move || {
        let error = render_with("{{ data }}", deep.as_bytes()).expect_err("too deep");
        assert_eq!(error.why, RenderProblem::NotJson);
        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert_eq!(render_with("{{ data | tojson }}", deep.as_bytes()).as_deref(), Ok(&deep[..]));
        assert_eq!(render_with("{{ data }}", deep.as_bytes()).as_deref(), Ok(&deep[..]));
    });
}

#[test]
fn what_fails_at_run_time_shows_nothing_of_the_payload() {
    let data = br#"{"secret": "hunter2", "list": ["hunter2"]}"#;
    for (source, why, line) in [
        ("{{ data.missing }}", RenderProblem::Undefined, 1),
        ("{{ data.a.b.c }}", RenderProblem::Undefined, 1),
        ("{% for x in data.missing %}{% endfor %}", RenderProblem::Undefined, 1),
        ("\n{{ data.missing | tojson }}", RenderProblem::Undefined, 2),
        ("{{ data.list | sum }}", RenderProblem::Mismatch, 1),
        ("{{ data.secret - 1 }}", RenderProblem::Mismatch, 1),
        ("{{ data.secret | int }}", RenderProblem::Mismatch, 1),
        ("{% for x in data.secret | int %}{% endfor %}", RenderProblem::Mismatch, 1),
        ("{% for a, b, c in data.list %}{% endfor %}", RenderProblem::Mismatch, 1),
    ] {
        let error = render_with(source, data).expect_err(source);
        assert_eq!((error.why, error.line), (why, Some(line)), "{source}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn what_does_not_compile() {
    let unknown = |name: &str, nearest| TemplateError::Variable { name: name.to_owned(), nearest };
    let tag = |name: &str| TemplateError::Scan(ScanError::Tag { line: 1, name: name.to_owned() });
    let head = |what| TemplateError::Scan(ScanError::ForHead { line: 1, what });
    let filter = |name: &str, nearest| {
        TemplateError::Scan(ScanError::Filter { line: 1, name: name.to_owned(), nearest })
    };
    let test = |name: &str, nearest| {
        TemplateError::Scan(ScanError::Test { line: 1, name: name.to_owned(), nearest })
    };
    let blocks = "{% if id %}".repeat(33);
    let elifs = format!("{{% if id %}}{}{{% endif %}}", "{% elif id %}".repeat(33));
    for (source, why) in [
        ("{{ tpye }}", unknown("tpye", Some("type"))),
        ("{{ dta.x }}", unknown("dta", Some("data"))),
        ("{{ range(3) }}", unknown("range", None)),
        ("{{ attempt }}", unknown("attempt", None)),
        ("{% set x = 1 %}", tag("set")),
        ("{%- include 'x' %}", tag("include")),
        ("{% with x = 1 %}{% endwith %}", tag("with")),
        ("{% filter upper %}{% endfilter %}", tag("filter")),
        ("{% %}", tag("")),
        ("{{ id | tojsn }}", filter("tojsn", Some("tojson"))),
        ("{{ id | safe }}", filter("safe", None)),
        ("{{ id is strng }}", test("strng", Some("string"))),
        ("{{ id is not numbr }}", test("numbr", Some("number"))),
        ("{% for x in id ~ id %}{% endfor %}", head("~")),
        ("{% for x in data.a + data.b %}{% endfor %}", head("+")),
        ("{% for x in data | join %}{% endfor %}", head("join")),
        ("{% for x in data recursive %}{% endfor %}", head("recursive")),
        ("{% for x in data recursive -%}{% endfor %}", head("recursive")),
        ("{% for x in [data.a] %}{% for y in data.b %}{% endfor %}{% endfor %}", head("list of values")),
        ("{% for x in {'a': id} %}{% for y in data.b %}{% endfor %}{% endfor %}", head("list of values")),
        ("{% for x in (1, id) %}{% for y in data.b %}{% endfor %}{% endfor %}", head("list of values")),
        (
            "{% for x in data.c or [[id]] %}{% for y in data.b %}{% endfor %}{% endfor %}",
            head("list of values"),
        ),
        ("{{ 'x' * 100000000 }}", ScanError::Star { line: 1 }.into()),
        ("\n{{ 2 ** 3 }}", ScanError::Star { line: 2 }.into()),
        ("{{ id ", ScanError::TagTooLong { line: 1 }.into()),
        ("{{ 'x }}", ScanError::TagTooLong { line: 1 }.into()),
        ("{# x", ScanError::Unclosed { line: 1, what: "comment" }.into()),
        ("{% raw %}{% endra %}", ScanError::Unclosed { line: 1, what: "raw block" }.into()),
        (&blocks, ScanError::Blocks { line: 1 }.into()),
        (&elifs, ScanError::Blocks { line: 1 }.into()),
        (&"{% for x in data %}".repeat(5), ScanError::Loops { line: 1 }.into()),
        (&" ".repeat((64 << 10) + 1), ScanError::TooLong.into()),
    ] {
        let error = compile(source).expect_err(source);
        assert_eq!(error, why, "{source}");
        assert!(!error.to_string().is_empty());
    }
    for source in
        ["{{ 1 + }}", "{% if %}", "{% if id %}", "{% endif %}", "{{ id( }}", "{% for x data %}{% endfor %}"]
    {
        assert!(compile(source).is_err(), "{source}");
    }
}

#[test]
fn what_fails_on_the_sample_is_an_error_unless_the_payload_can_help() {
    for (source, compiles) in [
        ("{{ data.a.b.c }}", true),
        ("{% for x in [data.a, id] %}{{ x }}{% endfor %}", true),
        ("{% for x in ['a', 1, none] %}{% for y in data.b %}{% endfor %}{% endfor %}", true),
        ("{% for x in (data.a | default([])) %}{% for y in data.b['c'] %}{% endfor %}{% endfor %}", true),
        ("{% for x in data['a'][1:] %}{% for k, y in data.b | items %}{% endfor %}{% endfor %}", true),
        ("{{ data.a - 1 }}", true),
        ("{% for a, b in data.pairs %}{{ a - b }}{% endfor %}", true),
        ("{{ id.x.y }}", false),
        ("{{ id - 1 }}", false),
        ("{{ id | int }}", false),
        ("{{ 1 // 0 }}", false),
        ("{{ data.items() }}", false),
        ("{{ [1] | map('nonsense') | list }}", false),
    ] {
        assert_eq!(compile(source).is_ok(), compiles, "{source}");
    }
}

/// Whatever a template holds, neither compiler nor run overflows a stack of 2 MiB, not even in a debug build.
#[test]
fn long_chains_do_not_overflow() {
    on_a_small_stack(|| {
        for count in [10, 100, 120, 250, 500, 1000, 2_000, 8_000, 30_000] {
            for source in [
                format!("{{{{ {}1 }}}}", "-".repeat(count)),
                format!("{{{{ {}1 }}}}", "not ".repeat(count)),
                format!("{{{{ 1{} }}}}", "+1".repeat(count)),
                format!("{{{{ 1{} }}}}", "~1".repeat(count)),
                format!("{{{{ id{} }}}}", "|upper".repeat(count)),
                format!("{{{{ data{} }}}}", ".a".repeat(count)),
                format!("{{{{ data{} }}}}", "[0]".repeat(count)),
                format!("{{{{ data{} }}}}", "()".repeat(count)),
                format!("{{{{ 1{} }}}}", " if 1 else 2".repeat(count)),
                format!("{{{{ 1{} }}}}", " and 1".repeat(count)),
                format!("{{{{ 1{} }}}}", " < 1".repeat(count)),
                format!("{{{{ 1{} }}}}", " is odd".repeat(count)),
                format!("{{{{ {}1{} }}}}", "(".repeat(count), ")".repeat(count)),
                format!("{{{{ {}1{} }}}}", "[".repeat(count), "]".repeat(count)),
                format!("{{{{ {}1{} }}}}", "{1:".repeat(count), "}".repeat(count)),
                format!("{}{}", "{% if id %}".repeat(count), "{% endif %}".repeat(count)),
                format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(count)),
                format!("{}{}", "{% for x in data %}".repeat(count), "{% endfor %}".repeat(count)),
                format!(
                    "{}{{{{ {}1 }}}}{}",
                    "{% if 1 %}".repeat(30),
                    "-".repeat(count),
                    "{% endif %}".repeat(30)
                ),
                format!("{{{{ [{}] }}}}", "1,".repeat(count)),
                "{{".repeat(count),
                "{%".repeat(count),
                "{% raw %}".repeat(count),
            ] {
                if let Ok(template) = compile(&source) {
                    let data = sample::data();
                    let _ = template.render(&sample::facts(&data));
                }
            }
        }
    });
}

#[test]
fn steps_and_output_are_bounded() {
    let list = format!("[{}1]", "1,".repeat(2_000));
    let nested = "{% for a in data %}{% for b in data %}{% endfor %}{% endfor %}";
    let error = render_with(nested, list.as_bytes()).expect_err("too many steps");
    assert_eq!(error.why, RenderProblem::TooLong);

    let data = format!("[\"{}\"{}]", "x".repeat(100_000), ",1".repeat(1_000));
    let long = "{% for a in data %}{{ data_json }}{% endfor %}";
    let error = render_with(long, data.as_bytes()).expect_err("too much output");
    assert_eq!(error.why, RenderProblem::TooLarge);

    let joined = "{{ (data | join(data_text) | length) }}";
    let error = render_with(joined, data.as_bytes()).expect_err("too much text");
    assert_eq!(error.why, RenderProblem::TooLarge);
    let replaced = "{{ (data_text | replace('x', data_text) | length) }}";
    let error = render_with(replaced, data.as_bytes()).expect_err("too much text");
    assert_eq!(error.why, RenderProblem::TooLarge);
    assert_eq!(render_with("{{ data | length }}", data.as_bytes()).as_deref(), Ok("1001"));
}

/// Renders with a fortieth of what there is to spend, and so in a fortieth of the time.
fn cheaply(source: &str, data: &str) -> Result<String, RenderError> {
    let mut template = compile(source).unwrap_or_else(|error| panic!("{source}: {error}"));
    template.budget = BUDGET / 40;
    let data = Bytes::copy_from_slice(data.as_bytes());
    template.render(&sample::facts(&data)).map(|body| String::from_utf8(body).expect("UTF-8"))
}

/// One step may go over all of a payload, and some hundred thousand are taken: what they go over is bounded as well.
#[test]
fn what_operators_and_filters_go_over_is_bounded() {
    let words: Vec<_> = (0..1_000).map(|n| format!("\"w{n}\"")).collect();
    let text = "y".repeat(7_000);
    let data = format!("{{\"l\":[{}],\"long\":\"{text}\",\"longs\":[\"{text}\"]}}", words.join(","));
    for body in [
        "{{ data | tojson | length }}",
        "{{ data.l | tojson | length }}",
        "{{ data.l | join | length }}",
        "{{ data.l | sort | first }}",
        "{{ data.l | reverse | join | length }}",
        "{{ data.l | select('eq', 'no') | first | default('') }}",
        "{{ data.l | map('upper') | first }}",
        "{{ data.l | max }}",
        "{{ data.l is in([data.l]) }}",
        "{{ 'no' is in(data.l) }}",
        "{{ 'no' is in(data.long) }}",
        "{% if 'no' in data.l %}{% endif %}",
        "{% if 'no' in data_text %}{% endif %}",
        "{% if 'no' in data.long %}{% endif %}",
        "{% if data.l == data.l %}{% endif %}",
        "{% if data.long ~ a == data.long ~ 'x' %}{% endif %}",
        "{% if [data_text ~ a] %}{% endif %}",
        "{{ data_text | replace('y', 'z') | first }}",
        "{{ data_text | split('y') | first }}",
        "{{ data_text | list | first }}",
        "{{ data_text | reverse | first }}",
        "{{ data_text | upper | first }}",
        "{{ data_text | trim | first }}",
        "{{ data_text | capitalize | first }}",
        "{{ data_text | length }}",
        "{{ (data_text | string)[0] }}",
        "{{ data_text[-1:] }}",
        "{% for x in [data.long] %}{% if 'no' in x %}{% endif %}{% endfor %}",
    ] {
        let source = format!("\n{{% for a in data.l %}}{body}{{% endfor %}}");
        let error = cheaply(&source, &data).map(|text| text.len()).expect_err(body);
        assert_eq!(error.why, RenderProblem::TooLong, "{body}");
        // Once it costs little.
        let source = format!("{{% for a in data.l | select('eq', 'w1') %}}{body}{{% endfor %}}");
        cheaply(&source, &data).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
    // What a loop around another holds is used without a look at it.
    for around in ["data.longs", "data.longs | list", "data_text | split('no')", "data.longs | select"] {
        let source = format!(
            "{{% for x in {around} %}}{{% for a in data.l %}}{{% if 'no' in x %}}{{% endif %}}{{% endfor %}}{{% endfor %}}"
        );
        let error = cheaply(&source, &data).map(|text| text.len()).expect_err(&source);
        assert_eq!(error.why, RenderProblem::TooLong, "{source}");
    }
    // Each once, and some of them again.
    for source in [
        "{% for w in data.l %}{{ w | upper }}{% if w == 'w7' %}!{% endif %}{% endfor %}{{ data | tojson }}{{ data_json }}",
        "{% for x in data.longs %}{{ x }}{% endfor %}",
    ] {
        cheaply(source, &data).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}

/// A text of many pieces takes more room than it has bytes.
#[test]
fn pieces_of_a_text_are_bounded() {
    let data = format!("\"{}\"", "y ".repeat(1_000_000));
    for body in ["list", "split('')", "sort", "max", "map('upper')", "select", "join", "split('', 1)"] {
        let source = format!("{{{{ data_text | {body} | length }}}}");
        let error = render_with(&source, data.as_bytes()).expect_err(body);
        assert_eq!(error.why, RenderProblem::TooLong, "{body}");
    }
    for (body, made) in [("split", "1000001"), ("split('y')", "1000001"), ("split(' ', 1)", "2")] {
        let source = format!("{{{{ data_text | {body} | length }}}}");
        assert_eq!(render_with(&source, data.as_bytes()).as_deref(), Ok(made), "{body}");
    }
}

/// Random texts of the language's pieces: nothing panics, and what compiles ends.
#[test]
fn random_templates() {
    const PIECES: [&str; 40] = [
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        "+",
        " ",
        "if ",
        "elif ",
        "else",
        "endif",
        "for x in ",
        "endfor",
        "raw",
        "endraw",
        "data",
        "data_json",
        "id",
        "x",
        ".a",
        "[0]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "'",
        "\"",
        "\\",
        "|tojson",
        "|join",
        "|length",
        " is string",
        "~",
        "1",
        "ä",
        "\n",
    ];
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut compiled = 0;
    for _ in 0..5_000 {
        let source: String = (0..random.usize(1..12)).map(|_| PIECES[random.usize(..PIECES.len())]).collect();
        let source = if random.bool() { format!("{{{{ {source} }}}}") } else { source };
        if let Ok(template) = compile(&source) {
            compiled += 1;
            let data = sample::data();
            let _ = template.render(&sample::facts(&data));
        }
    }
    assert!(compiled > 100, "seed {seed}: {compiled}");
}
