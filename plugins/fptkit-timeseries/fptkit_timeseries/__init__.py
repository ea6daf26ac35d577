"""The hooks of fptkit-timeseries. Every command imports this module, so it only has records and light imports."""

from __future__ import annotations

from pathlib import Path

from fptkit import RecipeFolderSpec, TaskSpec, hookimpl


@hookimpl
def fptkit_tasks() -> list[TaskSpec]:
    return [
        TaskSpec(
            name="time_series_classification",
            summary="classify time series: UCR/UEA files, any number of channels, any lengths",
            target="fptkit_timeseries.classification:TimeSeriesClassification",
            options="fptkit_timeseries.options:ClassificationOptions",
            files="fptkit_timeseries.find:files",
            source="UCR archive (Dau et al. 2019), UEA archive (Bagnall et al. 2018)",
        ),
        TaskSpec(
            name="time_series_forecasting",
            summary="forecast the next values of a series (regression), compared with naive forecasts",
            target="fptkit_timeseries.forecasting:TimeSeriesForecasting",
            options="fptkit_timeseries.options:ForecastingOptions",
            files="fptkit_timeseries.find:files",
            source="windows and splits by time as in Nie et al. 2023 (PatchTST)",
        ),
    ]


@hookimpl
def fptkit_recipes() -> list[RecipeFolderSpec]:
    folder = Path(__file__).parent / "recipes"
    return [RecipeFolderSpec(name="timeseries", summary="recipes of fptkit-timeseries", folder=folder)]
