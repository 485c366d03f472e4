//! The stores that the tests put objects into: an embedded one, or those that `HASHGATE_ORIGINS` names.

use super::client::Client;
use super::unique;
use hyper_util::rt::TokioIo;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

/// A store and the keys to it.
#[derive(Clone)]
pub(crate) struct Store {
    /// As in `origin.kind`; `embedded` for the one in this process.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// Where the embedded store keeps its files.
    folder: Option<Arc<tempfile::TempDir>>,
}

/// The stores to run on: the embedded one, or those in `HASHGATE_ORIGINS`, each as
/// `NAME=http://ADDRESS:PORT,REGION,ACCESS_KEY,SECRET_KEY`, with blanks between them.
pub(crate) async fn stores() -> Vec<Store> {
    let Ok(origins) = std::env::var("HASHGATE_ORIGINS") else {
        return vec![embedded().await];
    };
    let stores = origins.split_whitespace().map(|origin| {
        let parsed = (|| {
            let (name, rest) = origin.split_once('=')?;
            let mut fields = rest.split(',');
            let endpoint = fields.next()?.strip_prefix("http://")?;
            Some(Store {
                name: name.into(),
                address: endpoint.trim_end_matches('/').parse().ok()?,
                region: fields.next()?.into(),
                access_key: fields.next()?.into(),
                secret_key: fields.next()?.into(),
                folder: None,
            })
        })();
        parsed.unwrap_or_else(|| panic!("HASHGATE_ORIGINS: cannot read {origin:?}"))
    });
    let stores: Vec<Store> = stores.collect();
    assert!(!stores.is_empty(), "HASHGATE_ORIGINS names no store");
    stores
}

/// A store in this process on a temporary folder. It lives as long as the test's runtime.
pub(crate) async fn embedded() -> Store {
    let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
    let files = s3s_fs::FileSystem::new(folder.path()).expect("the folder is there");
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single("embedded-key", "embedded-secret"));
    builder.set_access(PublicBuckets);
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                // A client that vanishes is no failure of the store's.
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await;
            });
        }
    });
    Store {
        name: "embedded".into(),
        address,
        region: "us-east-1".into(),
        access_key: "embedded-key".into(),
        secret_key: "embedded-secret".into(),
        folder: Some(folder),
    }
}

impl Store {
    /// What `origin.kind` says of it.
    pub(crate) fn kind(&self) -> &str {
        match self.name.as_str() {
            "embedded" => "other",
            name => name,
        }
    }

    /// A client that talks to it directly.
    pub(crate) fn client(&self) -> Client {
        Client::new(self, self.address)
    }

    /// A place in the store that only this test uses. All rooms of a store are in one bucket, because some stores set
    /// much aside for each.
    pub(crate) async fn room(&self, stem: &str) -> Room {
        static BUCKETS: Mutex<BTreeMap<SocketAddr, Bucket>> = Mutex::const_new(BTreeMap::new());
        let mut buckets = BUCKETS.lock().await;
        let bucket = match buckets.get(&self.address) {
            Some(bucket) => bucket.clone(),
            None => {
                let bucket = self.bucket().await;
                buckets.insert(self.address, bucket.clone());
                bucket
            }
        };
        Room { bucket: bucket.name, prefix: unique(stem), versioned: bucket.versioned }
    }

    /// A bucket into which anybody may write and which keeps versions, as far as the store can have one.
    async fn bucket(&self) -> Bucket {
        let client = self.client();
        let name = unique("public");
        client.create_bucket(&name).await;
        if self.folder.is_none() {
            let policy = format!(
                r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"AWS":["*"]}},"Action":["s3:PutObject"],"Resource":["arn:aws:s3:::{name}/*"]}}]}}"#
            );
            let answer = client.request("PUT", &format!("/{name}?policy"), &[], policy.as_bytes()).await;
            println!("{}: a policy for anonymous uploads: {} {}", self.name, answer.status, answer.code());
        }
        let xml = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
        let target = format!("/{name}?versioning");
        let answer = client.request("PUT", &target, &[], xml.as_bytes()).await;
        let on = client.get(&target).await;
        let versioned = answer.status == 200 && on.element("Status").as_deref() == Some("Enabled");
        println!("{}: versioning: {versioned} ({} {})", self.name, answer.status, answer.code());
        Bucket { name, versioned }
    }

    /// The keys of everything in a room.
    pub(crate) async fn contents(&self, room: &Room) -> Vec<String> {
        let target = format!("/{}?list-type=2&prefix={}", room.bucket, room.prefix);
        // The embedded store fails to list, in several ways, while it is clearing away an upload that was cut short.
        let list = super::eventually("a list of what is stored", async || {
            let list = self.client().get(&target).await;
            assert!(list.status == 200 || self.folder.is_some(), "{}: {list:?}", self.name);
            (list.status == 200).then_some(list)
        })
        .await;
        let contents = list.elements("Contents");
        contents
            .iter()
            .map(|one| {
                let key = one.split_once("<Key>").and_then(|(_, rest)| rest.split_once("</Key>"));
                key.expect("a key in each").0.replace("&amp;", "&")
            })
            .collect()
    }

    /// What a gate and its clients must know of an origin that follows a script.
    pub(crate) fn fake(address: SocketAddr) -> Store {
        Store {
            name: "other".into(),
            address,
            region: "us-east-1".into(),
            access_key: "fake-key".into(),
            secret_key: "fake-secret".into(),
            folder: None,
        }
    }
}

#[derive(Clone)]
struct Bucket {
    name: String,
    versioned: bool,
}

/// A prefix in a bucket, shown as `bucket/prefix`.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// Whether the store keeps versions of what is in it.
    pub(crate) versioned: bool,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bucket, self.prefix)
    }
}

/// The embedded store's access rule: its one user may do anything, everybody may put objects into buckets named as public.
struct PublicBuckets;

impl S3Access for PublicBuckets {
    fn check<'a: 'c, 'b: 'c, 'x: 'c, 'c>(
        &'a self,
        cx: &'b mut S3AccessContext<'x>,
    ) -> Pin<Box<dyn Future<Output = s3s::S3Result<()>> + Send + 'c>>
    where
        Self: 'c,
    {
        let public = cx.s3_op().name() == "PutObject"
            && cx.s3_path().get_bucket_name().is_some_and(|name| name.starts_with("it-public-"));
        let allowed = cx.credentials().is_some() || public;
        Box::pin(async move { if allowed { Ok(()) } else { Err(s3s::s3_error!(AccessDenied)) } })
    }
}
