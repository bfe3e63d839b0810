//! PUT and a linearizable RANGE of one key, of the etcd v3 API (`rpc.proto`: service `etcdserverpb.KV`). Only
//! the fields in use are declared; protobuf skips the others.

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

/// Without `serializable` (7), a read is linearizable.
#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

/// One connection; clones share it.
#[derive(Clone)]
pub struct Connection {
    grpc: Grpc<Channel>,
}

impl Connection {
    /// Connects to `host:port`.
    pub async fn open(target: &str) -> Result<Self, String> {
        let endpoint =
            Endpoint::from_shared(format!("http://{target}")).map_err(|error| error.to_string())?;
        let channel = endpoint.connect().await.map_err(|error| error.to_string())?;
        Ok(Self { grpc: Grpc::new(channel) })
    }

    /// Writes a key; returns the revision of the write.
    pub async fn put(&mut self, key: Bytes, value: Bytes) -> Result<u64, Status> {
        let answer: PutResponse = self.call("/etcdserverpb.KV/Put", PutRequest { key, value }).await?;
        Ok(answer.header.unwrap_or_default().revision.cast_unsigned())
    }

    /// Reads a key: its value, and the revision of the write that set it.
    pub async fn get(&mut self, key: Bytes) -> Result<Option<(Bytes, u64)>, Status> {
        let answer: RangeResponse = self.call("/etcdserverpb.KV/Range", RangeRequest { key }).await?;
        let found = answer.kvs.into_iter().next();
        Ok(found.map(|found| (found.value, found.mod_revision.cast_unsigned())))
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        Ok(self.grpc.unary(Request::new(request), path, codec).await?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[test]
    fn messages_have_the_numbers_of_the_api() {
        let put = PutRequest { key: Bytes::from_static(b"k"), value: Bytes::from_static(b"v") };
        assert_eq!(put.encode_to_vec(), b"\x0a\x01k\x12\x01v");
        // A header of cluster 9, member 8, revision 7, and one pair (key "k", created 1, modified 2, version
        // 3, value "v").
        let header = b"\x0a\x06\x08\x09\x10\x08\x18\x07";
        let pair = b"\x12\x0c\x0a\x01k\x10\x01\x18\x02\x20\x03\x2a\x01v";
        let put = PutResponse::decode(&header[..]).unwrap();
        assert_eq!(put.header.unwrap().revision, 7);
        let range = RangeResponse::decode(&[&header[..], pair].concat()[..]).unwrap();
        assert_eq!(range.kvs, [KeyValue { mod_revision: 2, value: Bytes::from_static(b"v") }]);
    }
}
