// SPDX-License-Identifier: Apache-2.0
// Copyright the nodeproxy authors

//! rustls as a caller and as an endpoint, for rustls_test.py; one request or answer of HTTP/1.1 per connection.
//!
//!   rustls_peer call PORT ROOTS VERSION SCHEME [CERTIFICATE KEY [IDENTITY]]
//!       Two requests on connections of their own; prints the last one's status, version, the scheme that
//!       the first was signed with, and whether the last was resumed.  SCHEME (ED25519, ECDSA_NISTP256_SHA256)
//!       is the only one it takes from the server's leaf.  With an identity it is that URI that the
//!       server's certificate must say, in place of a host name.
//!   rustls_peer serve CERTIFICATE KEY
//!       Prints its port, then a line per connection: what ended the handshake, or SNI and "resumed" or "full".

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, WebPkiServerVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, RootCertStore,
    ServerConfig, ServerConnection, SignatureScheme, Stream,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

type Any<T> = Result<T, Box<dyn std::error::Error>>;

fn certificates(file: &str) -> Any<Vec<CertificateDer<'static>>> {
    Ok(CertificateDer::pem_file_iter(file)?.collect::<Result<_, _>>()?)
}

/// Verifies as rustls does, but for the name where an identity is wanted, and remembers the scheme.
#[derive(Debug)]
struct Looks {
    web: Arc<WebPkiServerVerifier>,
    roots: Arc<RootCertStore>,
    scheme: String,
    identity: Option<String>,
    seen: Mutex<String>,
}

impl Looks {
    fn saw(&self, s: &DigitallySignedStruct) {
        *self.seen.lock().unwrap() = format!("{:?}", s.scheme);
    }
}

impl ServerCertVerifier for Looks {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(identity) = &self.identity else {
            return self.web.verify_server_cert(leaf, above, name, ocsp, now);
        };
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.roots,
            above,
            now,
            algorithms.all,
        )?;
        let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let names: Vec<&str> = parsed.valid_uri_names().collect();
        if names != [identity.as_str()] {
            return Err(Error::General(format!("it is {names:?}")));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.saw(signed);
        self.web.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.saw(signed);
        self.web.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let all = self.web.supported_verify_schemes();
        all.into_iter().filter(|s| format!("{s:?}") == self.scheme).collect()
    }
}

fn call(words: &[String]) -> Any<()> {
    let [port, roots, version, scheme, own @ ..] = words else {
        return Err("call PORT ROOTS VERSION SCHEME [CERTIFICATE KEY [IDENTITY]]".into());
    };
    let mut store = RootCertStore::empty();
    for root in certificates(roots)? {
        store.add(root)?;
    }
    let store = Arc::new(store);
    let looks = Arc::new(Looks {
        web: WebPkiServerVerifier::builder(store.clone()).build()?,
        roots: store,
        scheme: scheme.clone(),
        identity: own.get(2).cloned(),
        seen: Mutex::default(),
    });
    let versions = if version == "1.2" { [&TLS12] } else { [&TLS13] };
    let builder = ClientConfig::builder_with_protocol_versions(&versions)
        .dangerous()
        .with_custom_certificate_verifier(looks.clone());
    let mut config = match own {
        [cert, key, ..] => builder.with_client_auth_cert(certificates(cert)?, PrivateKeyDer::from_pem_file(key)?)?,
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let config = Arc::new(config);
    let mut said = String::new();
    for _ in 0..2 {
        let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("shop.example")?)?;
        let mut tcp = TcpStream::connect(("127.0.0.1", port.parse::<u16>()?))?;
        let mut stream = Stream::new(&mut tls, &mut tcp);
        let body = vec![b'x'; 200_000];
        write!(
            stream,
            "POST /rust HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )?;
        stream.write_all(&body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?; // which is an error without close_notify
        let answer = String::from_utf8_lossy(&answer);
        let status = answer.split(' ').nth(1).unwrap_or("nothing").to_string();
        said = format!(
            "{status} {:?} {} {}",
            tls.protocol_version().ok_or("no version")?,
            looks.seen.lock().unwrap(),
            tls.handshake_kind() == Some(HandshakeKind::Resumed)
        );
    }
    println!("{said}");
    Ok(())
}

fn answer(config: Arc<ServerConfig>, mut tcp: TcpStream) -> Any<()> {
    let mut tls = ServerConnection::new(config)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    let kind = if tls.handshake_kind() == Some(HandshakeKind::Resumed) { "resumed" } else { "full" };
    println!("{} {kind}", tls.server_name().unwrap_or("-"));
    let mut stream = BufReader::new(Stream::new(&mut tls, &mut tcp));
    let (mut line, mut path, mut length) = (String::new(), String::new(), 0);
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let head = line.trim_end();
        if head.is_empty() {
            break;
        }
        if path.is_empty() {
            path = head.split(' ').nth(1).unwrap_or("?").to_string();
        }
        if let Some(n) = head.to_ascii_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let text = format!("rustls {path} {length}\n");
    let out = stream.get_mut();
    write!(out, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}", text.len())?;
    out.conn.send_close_notify();
    out.flush()?;
    Ok(())
}

fn serve(words: &[String]) -> Any<()> {
    let [cert, key] = words else {
        return Err("serve CERTIFICATE KEY".into());
    };
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates(cert)?, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.ticketer = rustls::crypto::ring::Ticketer::new()?;
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    for tcp in listener.incoming() {
        if let Err(e) = answer(config.clone(), tcp?) {
            println!("error: {e}");
        }
    }
    Ok(())
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((word, rest)) if word == "call" => call(rest),
        Some((word, rest)) if word == "serve" => serve(rest),
        _ => Err("call or serve: see the beginning of main.rs".into()),
    };
    if let Err(e) = done {
        println!("error: {e}");
        std::process::exit(1);
    }
}
