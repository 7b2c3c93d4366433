from .demo import write_demo_report as write_demo_report
from .figures.images import save_figure as save_figure
from .figures.prediction import geometry_picture as geometry_picture
from .figures.reliability import reliability_figure as reliability_figure
from .page.tables import format_number as format_number
from .page.tables import summary_table as summary_table
from .write import SweepPage as SweepPage
from .write import write_report as write_report
