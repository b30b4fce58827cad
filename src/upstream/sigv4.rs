//! AWS's Signature Version 4: a request is signed over its method, path, query, some of its headers and the hash of its body, with a
//! secret that is never sent (AWS, "Create a signed AWS API request", IAM user guide, 2026-11). Each request is signed by itself, so
//! nothing runs out but the credentials; a signature holds for some minutes around the instant that it names.
//!
//! Own code over the hash that is here anyway: the vendor's crate brings more than twenty others. Paths are taken as they are, without
//! the dots that the vendor's libraries resolve: no address here has any.

use http::header::{AUTHORIZATION, CONTENT_TYPE, InvalidHeaderValue};
use http::uri::{Scheme, Uri};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::endpoint::Secret;
use super::mac::{hex, hmac_sha256};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What a signature is made with.
#[derive(Clone, Copy)]
pub struct Credentials<'c> {
    /// The id of the key, which is sent.
    pub access_key: &'c str,
    pub secret_key: &'c str,
    /// Of credentials that hold for a while; it is sent.
    pub session_token: Option<&'c str>,
}

/// Signs requests to one service in one region.
#[derive(Clone)]
pub struct Signer {
    access_key: String,
    secret_key: Secret,
    session_token: Option<Secret>,
    region: String,
    service: String,
}

/// What is signed of a request.
struct Asked<'r> {
    method: &'r Method,
    uri: &'r Uri,
    /// By name in small letters, in order.
    headers: &'r [(&'r str, &'r str)],
    body: &'r [u8],
}

impl Signer {
    pub fn new(credentials: Credentials<'_>, region: &str, service: &str) -> Self {
        Self {
            access_key: credentials.access_key.to_owned(),
            secret_key: Secret::new(credentials.secret_key),
            session_token: credentials.session_token.map(Secret::new),
            region: region.to_owned(),
            service: service.to_owned(),
        }
    }

    /// What must not be told when a provider says it back.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        [&self.secret_key].into_iter().chain(&self.session_token)
    }

    /// Signs a request that is sent at an instant: adds the headers that say so.
    ///
    /// # Errors
    /// Where the credentials have characters that no header can carry.
    pub(super) fn sign(
        &self,
        (method, uri): (&Method, &Uri),
        headers: &mut HeaderMap,
        body: &[u8],
        at: Timestamp,
    ) -> Result<(), InvalidHeaderValue> {
        let date = instant(at);
        headers.insert(DATE, HeaderValue::try_from(&date)?);
        if let Some(token) = &self.session_token {
            headers.insert(TOKEN, sensitive(token.expose())?);
        }
        // The service refuses a header of its own that is not signed, also one that a row of the table adds.
        let signs = |name: &&HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz");
        let said = |name: &HeaderName| {
            let values = headers.get_all(name).iter().map(|value| single_spaced(&String::from_utf8_lossy(value.as_bytes())));
            values.collect::<Vec<_>>().join(",")
        };
        let further: Vec<(&str, String)> = headers.keys().filter(signs).map(|name| (name.as_str(), said(name))).collect();
        let host = host(uri);
        let mut signed = vec![("host", host.as_str())];
        signed.extend(further.iter().map(|(name, value)| (*name, value.as_str())));
        signed.sort_unstable();
        let authorization = self.authorization(&Asked { method, uri, headers: &signed, body }, at);
        headers.insert(AUTHORIZATION, sensitive(&authorization)?);
        Ok(())
    }

    fn authorization(&self, asked: &Asked<'_>, at: Timestamp) -> String {
        let (date, instant) = (at.strftime("%Y%m%d").to_string(), instant(at));
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let said = format!("{ALGORITHM}\n{instant}\n{scope}\n{}", hex(&Sha256::digest(asked.canonical())));
        let secret = format!("AWS4{}", self.secret_key.expose()).into_bytes();
        let parts = [date.as_str(), &self.region, &self.service, "aws4_request", &said];
        let signature = parts.into_iter().fold(secret, |key, part| hmac_sha256(&key, part.as_bytes()).to_vec());
        let (names, signature) = (asked.names(), hex(&signature));
        format!("{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.access_key)
    }
}

impl Asked<'_> {
    /// The request in the one form that both sides make of it.
    fn canonical(&self) -> String {
        let headers: Vec<String> =
            self.headers.iter().map(|(name, value)| format!("{name}:{}\n", single_spaced(value))).collect();
        let (path, query, names) = (path(self.uri), query(self.uri), self.names());
        format!("{}\n{path}\n{query}\n{}\n{names}\n{}", self.method, headers.concat(), hex(&Sha256::digest(self.body)))
    }

    fn names(&self) -> String {
        self.headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";")
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}

fn instant(at: Timestamp) -> String {
    at.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// As the client writes it in the header: without the port that the scheme has anyway.
fn host(uri: &Uri) -> String {
    let usual = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let host = uri.host().unwrap_or_default();
    match uri.port_u16().filter(|port| *port != usual) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// The path as it is sent, written out once more: what stands in it escaped is escaped twice.
fn path(uri: &Uri) -> String {
    let mut path = String::with_capacity(uri.path().len());
    for byte in uri.path().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => path.push(char::from(byte)),
            _ => {
                path.push('%');
                path.push_str(&hex(&[byte]).to_ascii_uppercase());
            }
        }
    }
    path
}

/// The members of the query in their order, each with its sign of equality.
fn query(uri: &Uri) -> String {
    let members = uri.query().unwrap_or_default().split('&').filter(|member| !member.is_empty());
    let mut members: Vec<(&str, &str)> = members.map(|member| member.split_once('=').unwrap_or((member, ""))).collect();
    members.sort_unstable();
    members.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

fn single_spaced(value: &str) -> String {
    value.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    /// The token of the test suite.
    const SUITE_TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
    const DATED: (&str, &str) = ("x-amz-date", "20150830T123600Z");
    const HOST: (&str, &str) = ("host", "example.amazonaws.com");

    fn signer(session_token: Option<&str>, region: &str, service: &str) -> Signer {
        Signer::new(Credentials { access_key: "AKIDEXAMPLE", secret_key: SECRET, session_token }, region, service)
    }

    /// A request of AWS's published test suite ("aws-sig-v4-test-suite"), with the signature that stands there.
    fn suite(method: &Method, uri: &str, headers: &[(&str, &str)], body: &str, signature: &str) {
        let uri: Uri = format!("https://example.amazonaws.com{uri}").parse().unwrap();
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let asked = Asked { method, uri: &uri, headers, body: body.as_bytes() };
        let told = signer(None, "us-east-1", "service").authorization(&asked, at);
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let scope = "AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";
        assert_eq!(told, format!("{ALGORITHM} Credential={scope}, SignedHeaders={names}, Signature={signature}"), "{uri}");
    }

    #[test]
    fn signatures_are_those_of_the_published_suite() {
        let plain = [HOST, DATED];
        // get-vanilla
        suite(&Method::GET, "/", &plain, "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        // get-unreserved
        let unreserved = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        suite(&Method::GET, unreserved, &plain, "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f");
        // get-vanilla-query-order-key-case
        let query = "/?Param2=value2&Param1=value1";
        suite(&Method::GET, query, &plain, "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
        // get-header-value-trim
        let spaced = [HOST, ("my-header1", " value1"), ("my-header2", "\"a   b   c\""), DATED];
        suite(&Method::GET, "/", &spaced, "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736");
        // post-x-www-form-urlencoded
        let form = [("content-type", "application/x-www-form-urlencoded"), HOST, DATED];
        let signature = "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a";
        suite(&Method::POST, "/", &form, "Param1=value1", signature);
        // post-sts-header-before
        let token = [HOST, DATED, ("x-amz-security-token", SUITE_TOKEN)];
        suite(&Method::POST, "/", &token, "", "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead");
        // get-special-character
        let special = "a853c9b21b528b19643d00910d35b83a10c366a10833ceefb45edd6c80e40f27";
        suite(&Method::GET, "/example/$delete", &plain, "", special);
    }

    /// Requests to Bedrock, as botocore 1.44.8 signs them.
    #[test]
    fn a_request_is_signed_as_the_vendors_library_does() {
        let check = |path: &str, body: &str, token: Option<&str>, names: &str, signature: &str| {
            let uri: Uri = format!("https://bedrock-runtime.eu-central-1.amazonaws.com{path}").parse().unwrap();
            let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
            let signer = signer(token, "eu-central-1", "bedrock");
            let at = "2026-11-29T04:05:06.789Z".parse().unwrap();
            signer.sign((&Method::POST, &uri), &mut headers, body.as_bytes(), at).unwrap();
            let scope = "AKIDEXAMPLE/20261129/eu-central-1/bedrock/aws4_request";
            let expected = format!("{ALGORITHM} Credential={scope}, SignedHeaders={names}, Signature={signature}");
            assert_eq!(headers[AUTHORIZATION], expected, "{path}");
            assert_eq!((headers[DATE].to_str().unwrap(), headers[AUTHORIZATION].is_sensitive()), ("20261129T040506Z", true));
            assert_eq!(headers.get(TOKEN).map(|value| (value.to_str().unwrap(), value.is_sensitive())), token.map(|t| (t, true)));
        };
        check(
            "/model/eu.amazon.nova-lite-v1%3A0/converse-stream",
            r#"{"messages":[]}"#,
            Some("FwoGZXIvYXdzEJr//session+token=="),
            "content-type;host;x-amz-date;x-amz-security-token",
            "d628f151d0615b9e077e7855d59c7c49ccdd88fe00487762a46160db8e2420d0",
        );
        check(
            "/model/amazon.nova-lite-v1%3A0/converse?b=2&a=1%2F3&c",
            "{}",
            None,
            "content-type;host;x-amz-date",
            "a71580118ec624cbe80c39c8c29973a2201cd6b0ce22c82e20dee9ce56f0515c",
        );
    }

    /// The same library of a request with headers that a row of the table adds.
    #[test]
    fn headers_of_the_service_are_signed_whoever_adds_them() {
        let uri = "https://bedrock-runtime.eu-central-1.amazonaws.com/model/amazon.nova-lite-v1%3A0/converse".parse().unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-amzn-bedrock-trace", "ENABLED"),
            ("x-amz-meta-who", "a  b"),
            ("accept", "*/*"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let at = "2026-11-29T04:05:06Z".parse().unwrap();
        signer(None, "eu-central-1", "bedrock").sign((&Method::POST, &uri), &mut headers, b"{}", at).unwrap();
        let names = "content-type;host;x-amz-date;x-amz-meta-who;x-amzn-bedrock-trace";
        let signature = "5d698f364726963f31a3755a2a993fcda8704edbda2df4b916e651e40706f26f";
        let scope = "AKIDEXAMPLE/20261129/eu-central-1/bedrock/aws4_request";
        let expected = format!("{ALGORITHM} Credential={scope}, SignedHeaders={names}, Signature={signature}");
        assert_eq!(headers[AUTHORIZATION], expected);
    }

    #[test]
    fn a_host_has_its_port_where_that_is_another_than_usual() {
        for (uri, expected) in [
            ("https://a.example/x", "a.example"),
            ("https://a.example:443/x", "a.example"),
            ("https://a.example:80/x", "a.example:80"),
            ("http://127.0.0.1:8080/x", "127.0.0.1:8080"),
            ("http://a.example:80", "a.example"),
        ] {
            assert_eq!(host(&uri.parse().unwrap()), expected);
        }
    }
}
