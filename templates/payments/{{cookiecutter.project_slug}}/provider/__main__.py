"""`python3 -m provider`: listens at PROVIDER_HOST:PROVIDER_PORT, 127.0.0.1:9100 unless told otherwise."""

from __future__ import annotations

import os
import signal

from provider.server import serve


def main() -> None:
    # As process 1 of a container Python would let SIGTERM pass.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    host, port = os.environ.get("PROVIDER_HOST", "127.0.0.1"), int(os.environ.get("PROVIDER_PORT", "9100"))
    server = serve(host, port)
    print(f"pretends to be a payment provider at http://{host}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


if __name__ == "__main__":
    main()
