//! Pulling over HTTP, against a small server on this machine that can also behave badly.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::Heard;
use luban_artifact::pull::{Hub, PullOptions, pull_with};
use luban_artifact::{Artifact, MANIFEST};
use luban_base::digest;
use luban_base::progress::Silent;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does wrong.
#[derive(Clone, Copy, Default, PartialEq)]
struct Manners {
    /// Breaks every answer about a file off after so many bytes.
    cut_at: Option<usize>,
    /// Answers as if it had never heard of ranges.
    no_ranges: bool,
    /// Sends no entity tag.
    no_etag: bool,
    /// Wants this token.
    token: Option<&'static str>,
    /// Answers everything with this.
    status: Option<u16>,
    /// Sends whoever asks for weights there.
    elsewhere: Option<&'static str>,
}

struct Server {
    address: String,
    log: Arc<Mutex<Vec<String>>>,
    files: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl Server {
    fn start(files: &[(&str, &[u8])], manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let files = files.iter().map(|(name, content)| (format!("/{name}"), content.to_vec())).collect();
        let files = Arc::new(Mutex::new(files));
        let (heard, served) = (Arc::clone(&log), Arc::clone(&files));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that went away is its own affair.
                let _ = answer(stream.unwrap(), &served.lock().unwrap(), &heard, manners);
            }
        });
        Self { address, log, files }
    }

    fn options(&self, place: &Path, token: Option<&str>) -> PullOptions {
        let mut options = PullOptions::new(&place.join("home"));
        options.hub = Hub { endpoint: self.address.clone(), token: token.map(str::to_owned) };
        options
    }

    /// The requests since the last call, as `PATH` or `PATH from START`.
    fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

/// Answers one request and closes.
fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    log: &Mutex<Vec<String>>,
    manners: Manners,
) -> std::io::Result<()> {
    let lines: Vec<String> =
        BufReader::new(stream.try_clone()?).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let header = |name: &str| {
        let found = lines.iter().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}:")));
        found.map(|line| line.split_once(':').unwrap().1.trim().to_owned())
    };
    let start = header("range").map(|range| range["bytes=".len()..range.len() - 1].parse::<usize>().unwrap());
    let known = if header("authorization").is_some() { " with a token" } else { "" };
    log.lock().unwrap().push(start.map_or(path.clone(), |start| format!("{path} from {start}")) + known);
    let denied = manners.token.is_some() && header("authorization") != manners.token.map(|t| format!("Bearer {t}"));
    let file = files.get(path.split('?').next().unwrap());
    let (status, content) = match (manners.status, denied, file) {
        (Some(status), ..) => (status, &[][..]),
        (_, true, _) => (401, &[][..]),
        (_, _, None) => (404, &[][..]),
        (_, _, Some(content)) => (200, &content[..]),
    };
    if let Some(elsewhere) = manners.elsewhere.filter(|_| path.contains("safetensors")) {
        return write!(stream, "HTTP/1.1 302 Found\r\nLocation: {elsewhere}{path}\r\nContent-Length: 0\r\n\r\n");
    }
    let etag = format!("\"{}\"", digest::of_bytes(content));
    let same = header("if-range").is_none_or(|expected| expected == etag);
    let from = start.filter(|_| status == 200 && !manners.no_ranges && same);
    let status = if from.is_some() { 206 } else { status };
    let body = &content[from.unwrap_or(0)..];
    write!(stream, "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n", body.len())?;
    if !manners.no_etag {
        write!(stream, "ETag: {etag}\r\n")?;
    }
    if let Some(from) = from {
        write!(stream, "Content-Range: bytes {from}-{}/{}\r\n", content.len() - 1, content.len())?;
    }
    write!(stream, "\r\n")?;
    let cut = manners.cut_at.filter(|_| !path.starts_with("/api")).unwrap_or(body.len());
    stream.write_all(&body[..cut.min(body.len())])
}

/// A model of 300 kB, as a repository `toy/model` at [`COMMIT`] and the listing of it.
fn repository(lie: bool) -> Vec<(String, Vec<u8>)> {
    let weights: Vec<u8> = (0..300_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let stated = if lie { digest::of_bytes(b"other") } else { digest::of_bytes(&weights) };
    let listing = serde_json::json!({
        "sha": COMMIT,
        "siblings": [
            {"rfilename": "config.json", "size": 2},
            {"rfilename": "model.safetensors", "size": weights.len(),
             "lfs": {"sha256": stated.to_string(), "size": weights.len(), "pointerSize": 134}},
            {"rfilename": "1_Pooling/config.json", "size": 2},
            {"rfilename": "pytorch_model.bin", "size": 10},
            {"rfilename": "../../escaped.json", "size": 2},
            {"rfilename": "modeling.py", "size": 10},
        ],
    });
    let at = |name: &str| format!("toy/model/resolve/{COMMIT}/{name}");
    vec![
        ("api/models/toy/model/revision/main".to_owned(), listing.to_string().into_bytes()),
        ("api/models/toy/model/revision/refs%2Fpr%2F1".to_owned(), listing.to_string().into_bytes()),
        (at("config.json"), b"{}".to_vec()),
        (at("1_Pooling/config.json"), b"[]".to_vec()),
        (at("model.safetensors"), weights),
    ]
}

fn serve(lie: bool, manners: Manners) -> Server {
    let files = repository(lie);
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, content)| (name.as_str(), &content[..])).collect();
    Server::start(&files, manners)
}

#[test]
fn a_repository_becomes_an_artifact() {
    let place = tempfile::tempdir().unwrap();
    let server = serve(false, Manners { token: Some("secret"), ..Manners::default() });
    let target = place.path().join("model");
    let options = server.options(place.path(), Some("secret"));
    for spec in ["hf:toy/model", "hf:toy/model@refs/pr/1"] {
        pull_with(spec, &target, &options, &Silent).unwrap();
        let artifact = Artifact::open(&target).unwrap();
        assert!(artifact.check_files().unwrap() > 300_000);
        let names: Vec<&str> = artifact.manifest().files.keys().map(String::as_str).collect();
        assert_eq!(names, ["1_Pooling/config.json", "config.json", "model.safetensors"]);
        assert_eq!(artifact.manifest().settings["revision"], COMMIT);
        assert_eq!(artifact.manifest().settings["source"], spec);
    }
    // The second pull found that nothing had changed: the files came from the first.
    assert_eq!(server.heard().iter().filter(|path| path.contains("safetensors")).count(), 1);
    let downloads = place.path().join("home/cache/downloads");
    assert_eq!(fs::read_dir(downloads).unwrap().count(), 0, "the parts are gone");
}

#[test]
fn a_broken_connection_is_taken_up_where_it_broke() {
    let place = tempfile::tempdir().unwrap();
    let server = serve(false, Manners { cut_at: Some(120_000), ..Manners::default() });
    let target = place.path().join("model");
    pull_with("hf:toy/model", &target, &server.options(place.path(), None), &Silent).unwrap();
    Artifact::open(&target).unwrap().check_files().unwrap();
    let heard: Vec<String> = server.heard().into_iter().filter(|path| path.contains("safetensors")).collect();
    assert!(heard[1].ends_with("from 120000") && heard[2].ends_with("from 240000"), "{heard:?}");
}

#[test]
fn a_redirection_is_followed_without_the_token() {
    let place = tempfile::tempdir().unwrap();
    let store = serve(false, Manners { cut_at: Some(200_000), ..Manners::default() });
    // Another host, if not another machine.
    let elsewhere: &'static str = store.address.replace("127.0.0.1", "localhost").leak();
    let hub = serve(false, Manners { elsewhere: Some(elsewhere), token: Some("secret"), ..Manners::default() });
    let target = place.path().join("model");
    pull_with("hf:toy/model", &target, &hub.options(place.path(), Some("secret")), &Silent).unwrap();
    Artifact::open(&target).unwrap().check_files().unwrap();
    assert!(hub.heard().iter().all(|request| request.ends_with("with a token")));
    let heard = store.heard();
    assert!(heard[1].ends_with("from 200000") && heard.iter().all(|request| !request.contains("token")), "{heard:?}");
}

#[test]
fn a_part_of_an_earlier_run_is_gone_on_with_or_given_up() {
    for (whole, no_ranges) in [(true, false), (true, true), (false, false)] {
        let place = tempfile::tempdir().unwrap();
        let (target, bad) = (place.path().join("model"), Manners { cut_at: Some(0), ..Manners::default() });
        let first = serve(false, bad);
        let mut options = first.options(place.path(), None);
        pull_with("hf:toy/model", &target, &options, &Silent).unwrap_err();
        assert!(!target.exists() && common::leavings(place.path()).is_empty());

        // The parts of the run that broke off, as if it had come further; from the right file or another one.
        let second = serve(false, Manners { no_ranges, ..Manners::default() });
        options.hub.endpoint.clone_from(&second.address);
        let url = format!("{}/toy/model/resolve/{COMMIT}/model.safetensors", second.address);
        let weights = repository(false).pop().unwrap().1;
        let name = digest::of_bytes(format!("{url}\n{}", digest::of_bytes(&weights)).as_bytes());
        let part = if whole { weights[..1000].to_vec() } else { vec![0; 1000] };
        fs::write(place.path().join(format!("home/cache/downloads/{name}.part")), part).unwrap();
        pull_with("hf:toy/model", &target, &options, &Silent).unwrap();
        Artifact::open(&target).unwrap().check_files().unwrap();
        let heard: Vec<String> = second.heard().into_iter().filter(|path| path.contains("safetensors")).collect();
        assert!(heard[0].ends_with("from 1000"), "{heard:?}");
        assert_eq!(heard.len(), if whole { 1 } else { 2 }, "a wrong beginning costs a second, whole download");
    }
}

#[test]
fn a_wrong_digest_is_refused_and_the_old_model_stays() {
    let place = tempfile::tempdir().unwrap();
    let target = place.path().join("model");
    common::save(&target, "old").unwrap();
    let server = serve(true, Manners::default());
    let error = pull_with("hf:toy/model", &target, &server.options(place.path(), None), &Silent).unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    assert_eq!(common::load(&target).unwrap(), "old");
    let downloads = place.path().join("home/cache/downloads");
    let parts = fs::read_dir(downloads).unwrap().filter(|e| e.as_ref().unwrap().metadata().unwrap().len() > 2);
    assert_eq!(parts.count(), 0, "nothing wrong is kept");
}

#[test]
fn refusals_say_why() {
    let place = tempfile::tempdir().unwrap();
    let cases = [
        ("hf:toy/model", Manners { token: Some("secret"), ..Manners::default() }, "token"),
        ("hf:toy/other", Manners::default(), "nothing at this address"),
        ("hf:toy/model", Manners { status: Some(503), ..Manners::default() }, "503"),
    ];
    for (spec, manners, expected) in cases {
        let server = serve(false, manners);
        let target = place.path().join("model");
        let error = pull_with(spec, &target, &server.options(place.path(), None), &Silent).unwrap_err().to_string();
        assert!(error.contains(expected) && !target.exists(), "{error}");
    }
}

#[test]
fn listings_that_are_none_are_refused() {
    let long = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":{}}}", "[".repeat(100_000));
    let no_config = format!("{{\"sha\":\"{COMMIT}\",\"siblings\":[{{\"rfilename\":\"model.safetensors\"}}]}}");
    for listing in ["", "[]", "{}", r#"{"sha":"main","siblings":[]}"#, &long, &no_config] {
        let place = tempfile::tempdir().unwrap();
        let server = Server::start(&[("api/models/toy/model/revision/main", listing.as_bytes())], Manners::default());
        let target = place.path().join("model");
        pull_with("hf:toy/model", &target, &server.options(place.path(), None), &Silent).unwrap_err();
        assert!(!target.exists());
    }
}

#[test]
fn one_file_comes_by_its_address() {
    let place = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    let target = place.path().join("model");
    for manners in [
        Manners::default(),
        Manners { no_etag: true, ..Manners::default() },
        Manners { cut_at: Some(90_000), ..Manners::default() },
    ] {
        let server = Server::start(&[("files/toy.gguf", &content)], manners);
        let options = server.options(place.path(), None);
        let spec = format!("{}/files/toy.gguf?download=true", server.address);
        pull_with(&spec, &target, &options, &Silent).unwrap();
        assert_eq!(Artifact::open(&target).unwrap().read("toy.gguf").unwrap(), content);

        let wrong = format!("{spec}#sha256={}", digest::of_bytes(b"other"));
        let error = pull_with(&wrong, &target, &options, &Silent).unwrap_err().to_string();
        assert!(error.contains("SHA-256"), "{error}");
        assert_eq!(Artifact::open(&target).unwrap().read("toy.gguf").unwrap(), content, "the old one stays");

        // With the right digest there is nothing to ask the server a second time.
        let right = format!("{spec}#sha256={}", digest::of_bytes(&content));
        pull_with(&right, &target, &options, &Silent).unwrap();
        server.heard();
        pull_with(&right, &target, &options, &Silent).unwrap();
        assert_eq!(server.heard(), Vec::<String>::new());
    }
}

#[test]
fn a_file_that_changes_between_two_connections_is_not_mixed() {
    let place = tempfile::tempdir().unwrap();
    let (old, new) = (vec![1_u8; 200_000], vec![2_u8; 200_000]);
    let server = Server::start(&[("toy.gguf", &old)], Manners { cut_at: Some(150_000), ..Manners::default() });
    let files = Arc::clone(&server.files);
    let swap = std::thread::spawn(move || {
        // After the first answer broke off and before the second connection, or a little later.
        std::thread::sleep(std::time::Duration::from_millis(100));
        files.lock().unwrap().insert("/toy.gguf".to_owned(), new);
    });
    let spec = format!("{}/toy.gguf", server.address);
    let target = place.path().join("model");
    pull_with(&spec, &target, &server.options(place.path(), None), &Silent).unwrap();
    swap.join().unwrap();
    let content = Artifact::open(&target).unwrap().read("toy.gguf").unwrap();
    assert!(
        content.iter().all(|&byte| byte == content[0]),
        "one version, not the head of one and the tail of the other"
    );
}

#[test]
fn local_models_are_copied() {
    let place = tempfile::tempdir().unwrap();
    let (folder, target) = (place.path().join("brought"), place.path().join("model"));
    fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    for (name, content) in
        [("config.json", "{}"), ("model.safetensors", "w"), ("run.py", "x"), ("1_Pooling/config.json", "[]")]
    {
        fs::write(folder.join(name), content).unwrap();
    }
    let options = PullOptions::new(&place.path().join("home"));
    let heard = Heard::default();
    pull_with(folder.to_str().unwrap(), &target, &options, &heard).unwrap();
    let artifact = Artifact::open(&target).unwrap();
    let names: Vec<&str> = artifact.manifest().files.keys().map(String::as_str).collect();
    assert_eq!(names, ["1_Pooling/config.json", "config.json", "model.safetensors"]);

    // An artifact becomes a parent of its copy.
    let copy = place.path().join("copy");
    pull_with(target.to_str().unwrap(), &copy, &options, &heard).unwrap();
    assert_eq!(Artifact::open(&copy).unwrap().manifest().inputs[0].digest, artifact.digest());

    // What is not an artifact is never replaced.
    let error = pull_with(target.to_str().unwrap(), &folder, &options, &heard).unwrap_err().to_string();
    assert!(error.contains("refusing") && folder.join("run.py").exists() && !folder.join(MANIFEST).exists(), "{error}");
}
