"""The steps of ``auto`` and their clock: planned, run, resumed, left out."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jnas import registry
from jnas.run import files, workdir
from jnas.spaces import genotype_text
from jnas.studies import closing, limits, retrain
from jnas.studies.auto import choice, commands, reading, rules, width
from jnas.studies.auto import plan as plan_lib
from jnas.studies.auto import setting as setting_lib
from jnas.studies.auto import steps as steps_lib
from jnas.studies.auto.plan import COMPARE, SEARCH, TUNE, TUNED

_LEAST_WORK = 0.7  # of the probe's: small networks are not as fast as they are small
_SURE = 1.15  # the last step is stopped at so many times the minutes
# A step that was faster than planned: how much of it is believed of the next steps. A
# search is other work than a training.
_FAST_SEARCH, _FAST_TRAINING = 0.85, 0.6
_NO_TIME = "tuning is left out"


class Auto:
    """The steps of one run, and its clock."""

    def __init__(
        self,
        run: workdir.Run,
        setting: setting_lib.Setting,
        runner: steps_lib.Runner,
        *,
        began: float,
    ):
        """Opens the log of the run.

        Args:
          run: the open run.
          setting: what is fixed.
          runner: runs commands.
          began: the runner's clock when the process began.
        """
        self._run, self._setting, self._runner = run, setting, runner
        asked = setting.asked
        self._log = steps_lib.Log(
            run,
            {
                "shared": {
                    n: v for n, v in asked.shared.items() if n not in setting_lib.FREE
                },
                "bounds": asked.bounds,
                "rule": asked.rule.name,
                "batch_size": asked.batch_size,
                "data_digest": setting.data.dataset.digest,
            },
        )
        self._before, self._began = self._log.used, began
        self._left_out: list[str] = list(self._log.content.get("left_out", ()))

    @property
    def used(self) -> float:
        """Seconds so far, those of earlier processes included."""
        return self._before + self._runner.clock() - self._began

    @property
    def budget(self) -> float:
        """Seconds that are left to plan with: a share of the rest is kept."""
        return self._left * (1 - rules.COSTS.spare)

    @property
    def _left(self) -> float:
        left = 60 * self._setting.minutes - self.used
        to_come = "latencies" not in self._log.content
        return left - to_come * plan_lib.latencies(self._setting.work)

    def go(self) -> dict[str, Any]:
        """Goes through all steps.

        Returns:
          name of a step -> the content of its result.json, of those that ended.

        Raises:
          ValueError: too few minutes, or a limit below the cheapest network.
          RunError: a step failed.
        """
        for line in reading.describe(self._setting.data):
            self._run.say(line)
        asked, dataset = self._setting.asked, self._setting.data.dataset
        self._run.say(
            f"rule: {asked.rule.name} ({asked.rule.choices()}); --explain says why"
        )
        space = registry.SPACES[asked.rule.space]()
        features = width.for_search(asked.rule, space, dataset, asked.bounds)
        measured = self._measure(features)
        amounts = self._plan(measured, features)
        done = {SEARCH: self._do(SEARCH, amounts, features, measured)}
        measured = measured.times(self._slowness(SEARCH), least=_FAST_SEARCH)
        features, factor = self._widen(features)
        measured = measured._replace(step=factor * measured.step)
        later = self._again(amounts, measured, (COMPARE, TUNE, TUNED))
        done[COMPARE] = self._compare(later, features, measured)
        measured = measured.times(self._slowness(COMPARE), least=_FAST_TRAINING)
        return done | self._tuned(later, features, measured)

    def _measure(self, features: int) -> plan_lib.Measured:
        known = self._log.content.get("measured")
        if known is not None:
            return plan_lib.Measured(*known)
        began = self._runner.clock()
        flags = [
            *commands.shared_flags(self._setting.asked),
            f"--minutes={self._setting.minutes}",
            "--probe",
            "--nocache",
        ]
        given = [*flags, *commands.bound_flags(self._setting.asked)]
        self._say_command("probe", "auto", given)
        text = self._runner.output("auto", given)
        seconds = self._runner.clock() - began
        found = json.loads(text.strip().splitlines()[-1])
        rest = max(1.0, seconds - found["seconds"])
        measured = plan_lib.Measured(found["compile"], found["step"], rest)
        self._run.say(
            f"probe: compiling a training takes {measured.compiling:.1f} s, a step of "
            f"{self._setting.asked.batch_size} images {1000 * measured.step:.0f} ms, "
            f"starting a process {measured.start:.1f} s"
        )
        self._log.save(
            measured=list(measured),
            probe_seconds=round(seconds, 2),
            probe_macs=found["macs"],
        )
        return measured

    def _plan(self, measured, features) -> plan_lib.Amounts:
        known = self._log.content.get("plan")
        if known is not None:
            return _amounts(known)
        work = self._setting.work._replace(factor=self._expected_work())
        found = plan_lib.fit(self.budget, work, measured)
        if found is None:
            need = plan_lib.needed(work, measured) / (1 - rules.COSTS.spare)
            need = (self.used + need) / 60
            raise ValueError(
                f"minutes must be at least {math.ceil(10 * need) / 10:g} for these "
                f"{work.images:,} images on this device, got "
                f"{self._setting.minutes:g}. Raise --minutes."
            )
        self._log.save(plan=found._asdict())
        self._say_plan(found, work, features, measured)
        return found

    def _expected_work(self) -> float:
        """Returns how much more work a training's step will be than the probe's."""
        asked = self._setting.asked
        if asked.bounds:  # they keep the trained network near to what is searched
            return 1.0
        space = registry.SPACES[asked.rule.space]()
        macs = width.likely_macs(
            asked.rule, space, self._setting.data.dataset, asked.rule.train_features
        )
        return max(_LEAST_WORK, macs / self._log.content["probe_macs"])

    def _say_plan(self, amounts, work, features, measured) -> None:
        total = 0.0
        self._run.say(f"plan for {self._setting.minutes:g} minutes:")
        for number, step in enumerate(_steps(amounts), 1):
            seconds = plan_lib.seconds(step, amounts, work, measured)
            total += seconds
            flags = commands.flags(step, self._setting.asked, amounts, features)
            self._run.say(f"  {number}. {step}, {seconds / 60:.1f} minutes:")
            self._run.say(f"     {self._shown(commands.launcher(step), flags)}")
        less = plan_lib.dropped(plan_lib.structures(work.rule)[0], amounts)
        if less:
            self._run.say(f"  what the rule has beside it does not fit: {less}")
        more = (self.used + total) / 60
        self._run.say(
            f"  {more:.1f} minutes in all; the model is chosen by validation accuracy, "
            "each network is tested once, at its end"
        )

    def _shown(self, launcher: str, flags: Sequence[str]) -> str:
        return commands.shown(closing.launcher(self._run, launcher), list(flags))

    def _say_command(self, step, launcher, flags) -> None:
        self._run.say(f"{step}, {self._left / 60:.1f} minutes left:")
        self._run.say(f"  {self._shown(launcher, flags)}")

    def _again(self, amounts, measured, steps) -> plan_lib.Amounts:
        """Makes the plan again from what is left, unless its step has begun.

        It may have more than the first plan, where the search was quicker.
        """
        known = self._log.content.get("later")
        if known is not None:
            return _amounts(known)
        found = plan_lib.fit(self.budget, self._setting.work, measured, steps=steps)
        if found is None:  # the found network alone, as short as the rule allows
            found = plan_lib.structures(self._setting.asked.rule)[-1]
        less, more = plan_lib.dropped(amounts, found), plan_lib.added(amounts, found)
        if less:
            self._leave_out(f"the minutes left allow less than planned: {less}")
        if more:
            self._run.say(f"the minutes left allow more than planned: {more}")
        self._log.save(later=found._asdict())
        return found

    def _leave_out(self, line: str) -> None:
        self._run.say(line)
        if line in self._left_out:  # of an earlier process
            return
        self._left_out.append(line)
        self._log.save(left_out=self._left_out)

    def _take_back(self, words: str) -> None:
        """Removes what was left out at first and is done after all."""
        lines = []
        for line in self._left_out:
            head, colon, rest = line.partition(": ")
            kept = [one for one in rest.split(", ") if one != words]
            if not colon or kept:
                lines.append(f"{head}{colon}{', '.join(kept)}")
        if lines != self._left_out:
            self._run.say(f"there is time for what was left out: {words}")
        self._left_out = lines
        self._log.save(left_out=lines)

    def _forget(self, head: str) -> None:
        """Removes what an earlier process left out."""
        self._left_out = [one for one in self._left_out if not one.startswith(head)]
        self._log.save(left_out=self._left_out)

    def _do(self, step, amounts, features, measured, *, seconds=None):
        """Runs a step, or resumes it with the flags with which it was begun."""
        one = self._log.step(step)
        if one is None:
            planned = plan_lib.seconds(step, amounts, self._setting.work, measured)
            launcher = commands.launcher(step)
            flags = commands.flags(step, self._setting.asked, amounts, features)
            one = self._log.begin(step, launcher, flags, planned=round(planned, 2))
        if one.get("status") != 0:
            self._say_command(step, one["launcher"], one["flags"])
            self._log.start(one)
            began, status = self._runner.clock(), None
            try:
                status = self._runner.call(one["launcher"], one["flags"], seconds)
            finally:  # also of a step that a signal ends
                self._log.end(one, status, self._runner.clock() - began)
        if one["status"] != 0:
            if seconds is None:
                raise files.RunError(
                    f"step {step} must end well, got exit status {one['status']}. See "
                    "its message above; the same command resumes the run."
                )
            return None
        return files.read_json(self._run.workdir / step / "result.json")

    def _compare(self, amounts, features, measured) -> dict[str, Any]:
        """Trains the found network and the baselines, those that the minutes allow.

        At the end of the minutes the step is stopped, and closed with the networks that
        are trained by then; the found one is trained in any case.
        """
        left = max(1.0, self._left)
        found = self._do(COMPARE, amounts, features, measured, seconds=left)
        if found is not None:
            return found
        one = self._log.step(COMPARE)
        if one["status"] == steps_lib.STOPPED:
            place = self._run.workdir / COMPARE / retrain.MODELS
            kept = [name for name in amounts.baselines if (place / name).is_dir()]
            gone = [name for name in amounts.baselines if name not in kept]
            one["flags"] = commands.with_baselines(one["flags"], kept)
            if gone:
                self._leave_out(f"the minutes are over: no {', '.join(gone)}")
        return self._do(COMPARE, amounts, features, measured)

    def _tuned(self, amounts, features, measured) -> dict[str, Any]:
        """Tunes the training and trains the tuned network, if there is time for both.

        A tuning that was not planned is done too, where there is time now. It is
        stopped in time for one training of the tuned network.
        """
        work, trials = self._setting.work, self._setting.asked.rule.trials
        cost = functools.partial(plan_lib.seconds, work=work, measured=measured)
        planned, amounts = amounts, amounts._replace(trials=amounts.trials or trials)
        if not trials or not self._may_tune(planned, amounts, measured):
            return {}
        if not planned.trials:
            self._take_back(plan_lib.NO_TUNING)
        self._forget(_NO_TIME)
        once = cost(TUNED, amounts._replace(seeds=1))
        tuning = self._optional(TUNE, amounts, features, measured, self._left - once)
        if tuning is None:
            return {}
        several = [amounts._replace(seeds=n) for n in range(amounts.seeds, 0, -1)]
        fitting = [one for one in several if cost(TUNED, one) <= self._left]
        if not fitting and self._log.step(TUNED) is None:
            self._leave_out(
                f"the tuned network is not trained: it needs {once / 60:.1f} minutes "
                f"and {max(0.0, self._left) / 60:.1f} are left"
            )
            return {TUNE: tuning}
        most = self._left + (_SURE - 1) * 60 * self._setting.minutes
        amounts = fitting[0] if fitting else amounts
        found = self._optional(TUNED, amounts, features, measured, most)
        return {TUNE: tuning} | ({TUNED: found} if found is not None else {})

    def _may_tune(self, planned, amounts, measured) -> bool:
        """Returns whether tuning and the training of the tuned network both fit."""
        begun = self._log.step(TUNE)
        if begun is not None:  # else it was stopped or failed in an earlier process
            return begun.get("status") in (None, 0)
        both = (TUNE, TUNED)
        need = plan_lib.total(both, amounts, self._setting.work, measured)
        if need <= self.budget:
            return True
        if planned.trials:
            self._forget(_NO_TIME)
            self._leave_out(
                f"{_NO_TIME}: with the training of the tuned network it needs "
                f"{need / 60:.1f} minutes and {max(0.0, self.budget) / 60:.1f} are left"
            )
        return False

    def _optional(self, step, amounts, features, measured, seconds):
        """Runs a step that may be left out, in the seconds that it is given."""
        begun = self._log.step(step)
        if begun is not None and begun.get("status") not in (None, 0):
            return None  # it was stopped or failed in an earlier process
        most = max(1.0, seconds)
        found = self._do(step, amounts, features, measured, seconds=most)
        if found is None:
            self._leave_out(f"{step} did not end in time or failed: it is left out")
        return found

    def latencies(self, done: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
        """Measures the trained networks, where latency is limited; once a run.

        Args:
          done: step -> content of its result.json.

        Returns:
          Model's folder in that of the run -> milliseconds.
        """
        asked = self._setting.asked
        if limits.LATENCY_MS not in asked.bounds:
            return {}
        known = self._log.content.get("latencies")
        if known is None:
            whole = self._run.workdir
            places = [p for p in choice.models(done).values() if (whole / p).is_dir()]
            given = commands.latency_flags(asked, places)
            self._say_command("latencies", "auto", given)
            began = self._runner.clock()
            text = self._runner.output("auto", given)
            seconds = self._runner.clock() - began
            found = json.loads(text.strip().splitlines()[-1])
            known = dict(zip(places, found.values(), strict=True))
            self._log.save(latencies=known, latency_seconds=round(seconds, 2))
        return known

    def _slowness(self, step: str) -> float:
        """Returns the seconds of a step over those that were planned."""
        one = self._log.step(step)
        return one["seconds"] / max(1.0, one["planned"])

    def _widen(self, searched: int) -> tuple[int, float]:
        """Returns the features of the trainings, and how much more work they are."""
        known = self._log.content.get("features")
        if known is not None:
            return known, self._log.content["work_factor"]
        asked, dataset = self._setting.asked, self._setting.data.dataset
        cell = genotype_text.load(self._run.workdir / SEARCH / "genotype.json")
        found = width.for_training(asked.rule, cell, dataset, asked.bounds, searched)
        counts = width.counted(asked.rule, cell, dataset, found)
        named = ", ".join(
            f"{n} {counts[n]:,} of {asked.bounds[n]:,.12g}"
            for n in width.COUNTED
            if n in asked.bounds
        )
        if named or found != searched:
            named = f": {named}" if named else ", without a limit"
            self._run.say(f"the found cell is trained with {found} features{named}")
        factor = max(_LEAST_WORK, counts["macs"] / self._log.content["probe_macs"])
        self._log.save(features=found, work_factor=factor)
        return found, factor

    @property
    def log(self) -> steps_lib.Log:
        """What was begun."""
        return self._log

    @property
    def left_out(self) -> list[str]:
        """What did not fit, in lines."""
        return list(self._left_out)

    def commands(self) -> list[str]:
        """Returns the commands of the steps that were begun."""
        steps = self._log.content["steps"]
        return [self._shown(one["launcher"], one["flags"]) for one in steps]


def _steps(amounts: plan_lib.Amounts) -> tuple[str, ...]:
    return plan_lib.STEPS if amounts.trials else (SEARCH, COMPARE)


def _amounts(known: Mapping[str, Any]) -> plan_lib.Amounts:
    return plan_lib.Amounts(**{**known, "baselines": tuple(known["baselines"])})
