"""The settings, as a dependency."""

from typing import Annotated

from fastapi import Depends, Request

from core.settings import Settings


async def get_settings(request: Request) -> Settings:
    """Return the application's settings."""
    settings: Settings = request.app.state.settings
    return settings


SettingsDep = Annotated[Settings, Depends(get_settings)]
