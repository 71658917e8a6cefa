"""From a data set and limits to a trained model, in minutes.

``rules`` is the table that chooses space, method and budget; ``plan`` the arithmetic of
minutes; ``run`` goes through the steps, each a command of jnas.
"""

from jnas.studies.auto.probe import figures as figures
from jnas.studies.auto.probe import latencies as latencies
from jnas.studies.auto.reading import Read as Read
from jnas.studies.auto.reading import read as read
from jnas.studies.auto.result import close as close
from jnas.studies.auto.result import text as text
from jnas.studies.auto.run import Auto as Auto
from jnas.studies.auto.setting import FREE as FREE
from jnas.studies.auto.setting import AutoSettings as AutoSettings
from jnas.studies.auto.setting import Setting as Setting
from jnas.studies.auto.setting import explain as explain
from jnas.studies.auto.setting import keep_device_free as keep_device_free
from jnas.studies.auto.setting import prepare as prepare
from jnas.studies.auto.steps import Runner as Runner
from jnas.studies.auto.steps import device as device
from jnas.studies.auto.steps import processes as processes
