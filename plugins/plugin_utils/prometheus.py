# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples out of a Prometheus server, by prometheus-api-client. Raw samples with their own times: nothing is aligned, nothing
extrapolated."""

from __future__ import annotations

import math
import re
import time
from typing import Any

import requests
from prometheus_api_client import PrometheusApiClientException, PrometheusConnect
from requests.adapters import Retry

from ..module_utils.energy.kepler import Point, Series
from ..module_utils.energy.web import path_option, read_secret, seconds_option, text_option
from ..module_utils.errors import KjouleError


class PrometheusServer:
    """One server, from remote_setting.SERVER_OPTIONS. Raises KjouleError for whatever is no answer of a Prometheus."""

    def __init__(self, options: dict[str, Any]) -> None:
        url = text_option(options, "url", "prometheus").rstrip("/")
        if not re.match(r"https?://[^/@]+(/|$)", url):
            raise KjouleError(
                "the address of Prometheus", expected="http://HOST[:PORT] without a password", seen=repr(url.rpartition("@")[2])
            )
        self.url = url
        self.what = f"Prometheus at {url}"
        session = requests.Session()
        session.trust_env = False  # neither a proxy nor a password of the environment
        ca_file = path_option(options, "ca_file", "prometheus", "")
        session.verify = ca_file or True
        headers = {}
        if options.get("token_file"):
            headers["Authorization"] = f"Bearer {read_secret(path_option(options, 'token_file', 'prometheus'))}"
        auth = None
        if options.get("password_file"):
            auth = (text_option(options, "username", "prometheus"), read_secret(path_option(options, "password_file", "prometheus")))
        self._timeout = seconds_option(options, "timeout_seconds", "prometheus", 10.0)
        self._client = PrometheusConnect(
            url, headers=headers, auth=auth, session=session, timeout=self._timeout, retry=Retry(total=0, connect=1, read=0)
        )

    def samples(self, selector: str, begin: float, end: float) -> list[Series]:
        """The raw samples of a selector between two moments (seconds of the epoch), each series in order of time."""
        span = max(1, math.ceil((end - begin) * 1000))
        return self._series(f"{selector}[{span}ms]", end)

    def evaluated(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """An expression every ``step`` seconds between two moments, by a subquery. Its times are those of the evaluation, not of
        samples."""
        span, milliseconds = max(1, math.ceil((end - begin) * 1000)), max(1, round(step * 1000))
        return self._series(f"({expression})[{span}ms:{milliseconds}ms]", end)

    def types(self, metric: str) -> set[str]:
        """What the server's targets say the metric is: ``counter``, ``gauge``, ..., or nothing."""
        answer = self._call(lambda: self._client.get_metric_metadata(metric))
        entries = answer.get(metric, []) if isinstance(answer, dict) else answer if isinstance(answer, list) else []
        return {str(entry.get("type")) for entry in entries if isinstance(entry, dict)} - {"unknown", "None"}

    def ahead_seconds(self) -> tuple[float, float]:
        """How far the server's clock is ahead of this one's, and how far off that may be: half the time that the question took."""
        before = time.time()
        answer = self._call(lambda: self._client.custom_query("time()"))
        after = time.time()
        try:
            now = float(answer[1])  # [0] is the time of evaluation, [1] the value
        except (TypeError, ValueError, IndexError, KeyError):
            raise self._strange("its time") from None
        return now - (before + after) / 2, (after - before) / 2

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _series(self, query: str, at: float) -> list[Series]:
        answer = self._call(lambda: self._client.custom_query(query, params={"time": f"{at:.3f}"}))
        series = []
        try:
            for entry in answer:
                labels = dict(entry["metric"])
                values = [Point(float(t), float(value)) for t, value in entry["values"]]
                series.append(Series(labels.pop("__name__", ""), labels, values))
        except (TypeError, ValueError, KeyError) as error:
            raise self._strange("a matrix of samples") from error
        return series

    def _call(self, ask: Any) -> Any:
        try:
            return ask()
        except PrometheusApiClientException as error:
            raise self._refused(str(error)) from error
        except requests.exceptions.SSLError as error:
            raise KjouleError(f"the certificate of {self.what} cannot be verified", next_step="give ca_file") from error
        except requests.Timeout as error:
            raise KjouleError(f"{self.what} does not answer", seen=f"nothing within {self._timeout:g} s") from error
        except requests.ConnectionError as error:
            timed_out = "timed out" in str(error).lower()
            seen = f"nothing within {self._timeout:g} s" if timed_out else "no connection"
            raise KjouleError(
                f"{self.what} {'does not answer' if timed_out else 'cannot be reached'}", seen=seen, next_step="check url"
            ) from error
        except (requests.RequestException, ValueError, KeyError, TypeError) as error:
            raise self._strange("JSON of the query API") from error

    def _refused(self, said: str) -> KjouleError:
        status = re.search(r"HTTP Status Code (\d+)", said)
        number = status[1] if status else "?"
        if number in ("401", "403"):
            return KjouleError(
                f"{self.what} does not let us in", seen=f"status {number}", next_step="check username, password_file or token_file"
            )
        reason = re.search(r'"error":\s*"((?:[^"\\]|\\.)*)"', said)
        return KjouleError(f"{self.what} refuses a query", seen=f"status {number}{', ' + reason[1][:200] if reason else ''}")

    def _strange(self, expected: str) -> KjouleError:
        return KjouleError(
            f"{self.what} did not answer as Prometheus does", expected=expected, next_step="check url: something else answers there"
        )
