#!/usr/bin/python
# Copyright (c) kjoule contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Write the plan of a run, or find the one to continue
version_added: 0.1.0
description:
  - Checks the settings of a run, draws the order of its blocks from a recorded seed, and writes one plan for every host.
  - Runs on the controller only, once for all hosts, so that they share a O(run_id). Use C(run_once).
  - With O(run_id) that run is continued if its plans have the same settings, refused with the list of differences if not, and started if
    there is none. Without it the newest unfinished run with the same settings is continued, else a new one is started.
  - An option that is left out, null or empty takes the value of the profile, else the default named here.
author:
  - kjoule contributors (@kjoule)
attributes:
  check_mode:
    description: Can run in check_mode and return changed status prediction without modifying the target.
    support: full
    details:
      - Returns the plans that would be written. A seed that is not given is drawn anew each time.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff mode.
    support: none
options:
  hosts:
    description:
      - Hosts to plan for. Default is the host of the task.
      - Either a list of names, or a dictionary of names to settings of that host, which win over those of the task.
    type: raw
  reports_dir:
    description: Folder on the controller for plans, journals and reports. A relative one starts in the working directory.
    type: path
    default: reports
  run_id:
    description:
      - Name of the run to continue or to start. Letters, digits, dots, hyphens and underscores.
      - Default for a new run is C(YYYYmmdd-HHMMSS-PROFILE).
    type: str
  profile:
    description:
      - Set of defaults.
      - V(quick) is 6 blocks, 5 apps, an interval of 3 s and a baseline of 2 s.
      - V(full) is 12 blocks, 20 apps, an interval of 60 s and a baseline of 30 s.
    type: str
    default: quick
    choices: [quick, full]
  arms:
    description: The two ways of delivering, the control first. The same one twice is A against A and shows the noise floor.
    type: list
    elements: str
    default: [snowflake, flux]
  mode:
    description:
      - V(compare) compares two arms.
      - V(calibrate) measures the same arm twice, by default the control and at least 10 blocks. What it says about the noise of the host is
        used by later comparisons of the same kind on that host.
    type: str
    default: compare
    choices: [compare, calibrate]
  factors:
    description:
      - What is varied beside the arm, each with a list of at least two levels - C(apps), C(interval) (seconds), C(layout),
        C(repositories), C(sampling).
      - They are fully crossed. Every block is measured once for each combination, these next to each other in random order.
    type: dict
    default: {}
  stopping:
    description:
      - The rule by which the run may end early, looked at between blocks - C(max_hours), what the recorded periods may take together.
    type: dict
    default: {}
  warmup_seconds:
    description: How long a new lab runs before the baseline of its period.
    type: float
    default: 0
  washout_seconds:
    description: How long the host rests before every period.
    type: float
    default: 0
  blocks:
    description:
      - Number of blocks. With O(inference=true) and O(alpha=0.05) at least 6, because an exact sign-flip test of fewer cannot give p
        below 0.05.
    type: int
  block_retries:
    description: How often a block with an invalid period is run again.
    type: int
    default: 1
  apps:
    description: Number of apps of the generated workload. Not to be given with manifests of your own.
    type: int
  replicas:
    description: Replicas of each generated app.
    type: int
    default: 2
  interval_seconds:
    description: Reconcile interval of flux.
    type: float
  layout:
    description: V(per-app) gives each app a Kustomization of its own, V(one) has one for all.
    type: str
    default: per-app
    choices: [per-app, one]
  repositories:
    description: Git repositories that the apps are dealt out to, at most one for each app. With 1 they stand in that of the cluster itself.
    type: int
    default: 1
  sampling:
    description:
      - Whether clocks are read between the edges of a window as well, every O(sample_seconds). The figures come from the edges alone;
        samples show the course over time, and that something ended.
      - With V(off) only counters that wrap are read in between, as often as they have to be.
    type: str
    default: "on"
    choices: ["on", "off"]
  scenario:
    description:
      - Name of a shipped scenario (V(day), V(idle), V(interval), V(scale)), path to a YAML file, or the list of phases itself.
      - A relative path is looked for in the folder of the playbook, then in the working directory.
      - Phases are idle, deploy, steady, update, drift, prune and teardown. A hold is in seconds, or a text such as V(2 intervals).
    type: raw
    default: day
  lab:
    description:
      - Provider of the cluster under test. V(kwok) makes a control plane for every period, V(existing) uses a cluster whose control plane
        runs on the host already, V(minikube) the one of the role C(minikube_lab).
    type: str
    default: kwok
    choices: [kwok, existing, minikube]
  existing:
    description: Which cluster the lab V(existing) is - C(kubeconfig) (a path on the host), C(context), C(confirm), C(processes).
    type: dict
    default: {}
  minikube:
    description: Which cluster the lab V(minikube) is - C(driver) (V(kvm2), V(docker) or V(none)), C(profile), C(home).
    type: dict
    default: {}
  flux:
    description:
      - Where Flux runs - C(place) is V(host) (default, processes beside the cluster) or V(cluster) (pods in it), C(registry) is where the
        images of the controllers come from.
    type: dict
    default: {}
  workload_images:
    description:
      - Images that the generated apps run, two or more; an update goes from one to the next. Without them nothing can pull the images.
    type: list
    elements: str
    default: []
  workload_iterations:
    description: Loops of a shell that each pod of those images does every second.
    type: int
    default: 0
  prometheus:
    description: What the controller reads from a Prometheus server after every period, as docs/sources.md says.
    type: dict
    default: {}
  baseline_seconds:
    description: Window of every period before the arm is installed.
    type: float
  settle_seconds:
    description: Pause before each phase.
    type: float
  sample_seconds:
    description: Time between samples within a window.
    type: float
  source:
    description: Source of energy; V(auto) takes what the host offers.
    type: raw
    default: auto
  inference:
    description: Whether to test. With V(false) there are figures with intervals, but no p and no verdict, and O(blocks) may be small.
    type: bool
    default: true
  alpha:
    description: Significance level of tests; 1 - alpha is the confidence of intervals.
    type: float
    default: 0.05
  margin_cpu:
    description: Margin of equivalence at rest, in CPU (0.005 is 5 mCPU).
    type: float
    default: 0.005
  timeout_seconds:
    description: How long a delivery may take to converge. More than the interval, where Flux polls.
    type: float
    default: 120
  workload:
    description:
      - V(generated), or a folder on the controller with manifests of your own.
      - Each folder in it that holds manifests is an app, loose files form the app C(root). What it holds becomes part of the plan.
    type: str
    default: generated
  ports:
    description: Ports of the lab, by component, where they must be fixed.
    type: dict
    default: {}
  estimate:
    description:
      - Row of the table of joules per CPU-second, used where no energy can be read.
      - V(auto) is the energy calibration of the host where there is one, else V(generic-x86-server); V(calibrated) insists on it.
    type: str
    default: auto
  joules_per_cpu_second:
    description: A coefficient of your own, with the keys C(value), C(low), C(high) and C(source). Wins over O(estimate).
    type: dict
  extra:
    description:
      - What only one of the arms takes.
      - C(flux_trigger) is V(poll) (default) or V(annotate), C(snowflake_prune) is V(none) (default) or V(delete).
    type: dict
    default: {}
  checks:
    description:
      - Which checks of a quiet host are made around every period, and with which thresholds; docs/checks.md lists them.
      - V(true) makes all with the shipped thresholds, V(false) none. A dictionary changes some of them, each by its name - V(false)
        leaves one out, C({warn, fail}) sets thresholds, null for never. C(temperature) also takes C(base), in degrees Celsius.
    type: raw
    default: true
  energy_calibration:
    description: What a CPU-second costs on the host, as RV(kjoule.bench.energy_calibrate#module:calibration) says; empty without one.
    type: dict
    default: {}
  seed:
    description: Seed of the order and of the generated workload. Default is one that is drawn and recorded.
    type: int
seealso:
  - module: kjoule.bench.report
"""

EXAMPLES = r"""
- name: Plan a quick run on all hosts of the play, or continue the one that was interrupted
  kjoule.bench.plan:
    hosts: "{{ ansible_play_hosts }}"
    reports_dir: reports
    profile: quick
  run_once: true
  register: planned

- name: A against A, to see the noise floor, with a scenario of one's own
  kjoule.bench.plan:
    arms: [flux, flux]
    blocks: 10
    scenario:
      - {name: idle, hold: 1 interval}
      - {name: deploy, revision: base}
      - {kind: steady, name: night, hold: 4 intervals}
      - {name: teardown}

- name: A run whose periods do not count while other guests take more than a tenth of the processors
  kjoule.bench.plan:
    checks:
      steal: {warn: 0.01, fail: 0.1}
      cron: false
"""

RETURN = r"""
run_id:
  description: Name of the run that was started or is continued.
  returned: success
  type: str
  sample: 20240501-100000-quick
plans:
  description: The plan of every host, as described in the documentation of the architecture.
  returned: success
  type: dict
continued:
  description: Whether a run that was there already is continued.
  returned: success
  type: bool
estimate_seconds:
  description: Estimated run time of what is left, of the slowest host.
  returned: success
  type: float
  sample: 622.2
progress:
  description: Blocks planned and valid, periods recorded and left, by host.
  returned: success
  type: dict
paths:
  description: Paths of plan, journal and reports, by host.
  returned: success
  type: dict
"""
