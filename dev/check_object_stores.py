#!/usr/bin/env python3
"""Puts a packed set and tar shards on local servers for S3 and Google Cloud Storage and has mira-train read all of them. Usage: see
dev/check_object_stores.

moto checks signatures and permissions once told to. gcp-storage-emulator checks neither, and leaves out two headers that Google's servers send
(Last-Modified, ETag), which a proxy adds: of gs:// this shows addresses, ranges and what is said where nothing is, not access keys.
"""

import contextlib
import http.server
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib

import boto3

BUCKET, FOLDER = "sets", "small/packed"


def png(side, seed):
    rows = b"".join(b"\0" + bytes((seed * x * y) % 256 for x in range(3 * side)) for y in range(side))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def server(command, port):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def post(address, data):
    headers = {"Content-Type": "application/octet-stream"}
    urllib.request.urlopen(urllib.request.Request(address, data=data, headers=headers, method="POST"))


def check(mira, url, environment, expected_code, expected_text):
    run = subprocess.run(
        [mira, "data", "info", "--check", url], env=os.environ | environment, capture_output=True, text=True, timeout=120
    )
    text = run.stdout + run.stderr
    assert run.returncode == expected_code and expected_text in text, f"{url}: {run.returncode}, {text}"
    print(f"{url}: {text.strip().splitlines()[-1]}")


def s3(mira, packed):
    port = free_port()
    with server([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port) as endpoint:
        clients = dict(endpoint_url=endpoint, aws_access_key_id="first", aws_secret_access_key="first", region_name="us-east-1")
        store, iam = boto3.client("s3", **clients), boto3.client("iam", **clients)
        store.create_bucket(Bucket=BUCKET)
        for file in packed.iterdir():
            store.upload_file(str(file), BUCKET, f"{FOLDER}/{file.name}")
        statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        # From now on signatures and permissions count.
        post(f"{endpoint}/moto-api/reset-auth", b"0")
        right = {
            "AWS_ENDPOINT": endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
        check(mira, f"s3://{BUCKET}/{FOLDER}", right, 0, "no corrupt image among 3")
        check(mira, f"s3://{BUCKET}/{FOLDER}/train-{{0..1}}.tar", right, 0, "no corrupt image among 3")
        check(mira, f"s3://{BUCKET}/nothing", right, 2, "there is no packed set")
        wrong = right | {"AWS_SECRET_ACCESS_KEY": "wrong"}
        check(mira, f"s3://{BUCKET}/{FOLDER}", wrong, 2, "check the access keys")


def gs(mira, packed):
    port = free_port()
    command = ["gcp-storage-emulator", "start", "--host=127.0.0.1", f"--port={port}", f"--default-bucket={BUCKET}", "--in-memory"]
    command[0] = str(pathlib.Path(sys.executable).parent / command[0])
    with server(command, port) as endpoint:
        for file in packed.iterdir():
            address = f"{endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={FOLDER.replace('/', '%2F')}%2F{file.name}"
            post(address, file.read_bytes())

        class Proxy(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                headers = {"Range": self.headers["Range"]} if "Range" in self.headers else {}
                try:
                    answer = urllib.request.urlopen(urllib.request.Request(endpoint + self.path, headers=headers))
                except urllib.error.HTTPError as error:
                    answer = error
                body = answer.read()
                self.send_response(answer.status)
                if "Content-Range" in answer.headers:
                    self.send_header("Content-Range", answer.headers["Content-Range"])
                self.send_header("Last-Modified", "Sat, 28 Nov 2026 11:00:00 GMT")
                self.send_header("ETag", '"1"')
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        account = {
            "gcs_base_url": f"http://127.0.0.1:{proxy.server_address[1]}",
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(account, file)
            file.flush()
            environment = {"GOOGLE_SERVICE_ACCOUNT": file.name}
            check(mira, f"gs://{BUCKET}/{FOLDER}", environment, 0, "no corrupt image among 3")
            check(mira, f"gs://{BUCKET}/{FOLDER}/train-{{0..1}}.tar", environment, 0, "no corrupt image among 3")
            check(mira, f"gs://{BUCKET}/nothing", environment, 2, "there is no packed set")


def main():
    mira = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        images, packed = pathlib.Path(folder, "images"), pathlib.Path(folder, "packed")
        for i, name in enumerate(["ant", "bee", "ant"]):
            file = images / "train" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(20 + i, i + 2))
        subprocess.run([mira, "data", "pack", images, packed], check=True, capture_output=True)
        files = sorted(images.rglob("*.png"))
        for number, members in enumerate([files[:2], files[2:]]):
            with tarfile.open(packed / f"train-{number}.tar", "w") as archive:
                for file in members:
                    archive.add(file, file.name)
        # What shards are made of is kept in the user's cache folder.
        os.environ["XDG_CACHE_HOME"] = folder
        s3(mira, packed)
        gs(mira, packed)


if __name__ == "__main__":
    main()
